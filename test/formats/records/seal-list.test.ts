import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { decodeSealList, encodeSealList, MAX_SEAL_LIST } from '../../../src/formats/records/seal-list.ts';
import { demandFlipsHandled, malformed } from '../strict.ts';

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);
const TEXT = `bootseal-seals 1\n${B} arch/boot/vmlinuz.sig\n${A} boot.ipxe\n${B} boot.ipxe.sig\n`;

it('is in the order of the paths, however it was given', () => {
  const list = new Map([
    ['boot.ipxe.sig', B],
    ['boot.ipxe', A],
    ['arch/boot/vmlinuz.sig', B],
  ]);
  assert.equal(Buffer.from(encodeSealList(list)).toString(), TEXT);
  assert.deepEqual(decodeSealList(Buffer.from(TEXT)), list);
});

it('decode undoes encode', () => {
  fc.assert(
    fc.property(
      fc.dictionary(
        fc.stringMatching(/^[a-z0-9._]{0,5}[a-z](\/[A-Za-z0-9]{1,5}){0,2}$/),
        fc.stringMatching(/^[0-9a-f]{64}$/),
      ),
      (files) => {
        const list = new Map(Object.entries(files));
        assert.deepEqual(new Map(decodeSealList(encodeSealList(list))), list);
      },
    ),
  );
});

it('a file with any byte changed is malformed, or another list', () => {
  assert.ok(demandFlipsHandled(decodeSealList, Buffer.from(TEXT)) > 0);
});

for (const [what, text] of [
  ['another version', TEXT.replace('seals 1', 'seals 2')],
  ['a path twice', `bootseal-seals 1\n${A} boot.ipxe\n${B} boot.ipxe\n`],
  ['paths out of order', `bootseal-seals 1\n${A} b\n${B} a\n`],
  ['a path that leaves its release', `bootseal-seals 1\n${A} ../boot.ipxe\n`],
  ['two blanks', TEXT.replace(' boot.ipxe\n', '  boot.ipxe\n')],
  ['no end of its last line', TEXT.slice(0, -1)],
  ['an empty line', `${TEXT}\n`],
  ['more bytes than any has', `bootseal-seals 1\n${`${A} x\n`.repeat(MAX_SEAL_LIST / 64)}`],
] as const) {
  it(`refuses ${what}`, () => {
    assert.throws(() => decodeSealList(Buffer.from(text)), malformed(/list of seals/));
  });
}
