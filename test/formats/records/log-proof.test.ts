import assert from 'node:assert/strict';
import { it } from 'node:test';
import { encodeCheckpoint, encodeCheckpointFile } from '../../../src/formats/records/checkpoint.ts';
import { encodeLogEntry } from '../../../src/formats/records/log-entry.ts';
import { decodeLogProof, encodeLogProof, MAX_LOG_PROOF } from '../../../src/formats/records/log-proof.ts';
import { encodeSealList } from '../../../src/formats/records/seal-list.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const PATH = [Buffer.alloc(32, 1), Buffer.alloc(32, 2)];
const SEALS = encodeSealList(new Map([['boot.ipxe', 'a'.repeat(64)]]));
const named = { index: 2, time: 0, act: 'publish', signers: [], seals: 'b'.repeat(64) } as const;
const ENTRY = encodeLogEntry(named);
const BARE = encodeLogEntry({ ...named, seals: undefined });
const CHECKPOINT = encodeCheckpoint({ log: 'c'.repeat(32), size: 4, root: 'd'.repeat(64), time: 0 });
const SEAL = Buffer.alloc(80, 9);
const FILE = encodeCheckpointFile(CHECKPOINT, SEAL);
const PROOF = Buffer.from(encodeLogProof(PATH, ENTRY, SEALS, FILE));
const TEXT = PROOF.toString();

it('is its parts, an empty line between them', () => {
  const parts = ['bootseal-log-proof 1', 'bootseal-log-entry 1', 'bootseal-seals 1', 'bootseal-checkpoint 1'];
  assert.deepEqual(
    TEXT.split('\n\n').map((part) => part.split('\n')[0]),
    [...parts, '-----BEGIN CMS-----'],
  );
  const { path, entry, entryBytes, seals, checkpoint } = decodeLogProof(PROOF);
  assert.deepEqual(path, PATH);
  assert.equal(entry.index, 2);
  assert.deepEqual(entryBytes, ENTRY);
  assert.deepEqual(seals?.bytes, SEALS);
  assert.deepEqual([...(seals?.list ?? [])], [['boot.ipxe', 'a'.repeat(64)]]);
  assert.deepEqual([checkpoint.checkpoint.size, checkpoint.seal], [4, SEAL]);
});

it('has no path in a log of one entry, and no list where the entry names none', () => {
  const { path, seals } = decodeLogProof(encodeLogProof([], BARE, undefined, FILE));
  assert.deepEqual([path, seals], [[], undefined]);
});

it('is refused when cut, with anything after it, and changed', () => {
  demandCutsRefused(decodeLogProof, PROOF);
  demandNothingAfter(decodeLogProof, PROOF);
  assert.ok(demandFlipsHandled(decodeLogProof, PROOF) > 0);
});

for (const [what, text] of [
  ['another version', TEXT.replace('proof 1', 'proof 2')],
  ['a path in capitals', TEXT.replace('path 0101', 'path 0A01')],
  ['a short path', TEXT.replace('path 0101', 'path 01')],
  [
    'parts in another order',
    TEXT.split('\n\n')
      .toSpliced(1, 2, ...TEXT.split('\n\n').slice(1, 3).reverse())
      .join('\n\n'),
  ],
  ['two empty lines', TEXT.replace('\n\n', '\n\n\n')],
  ['an entry too many', TEXT.replace('\n\nbootseal-seals', `\n\n${Buffer.from(BARE)}\nbootseal-seals`)],
  [
    'a path longer than any tree is high',
    TEXT.replace('1\npath', `1\n${`path ${'e'.repeat(64)}\n`.repeat(60)}path`),
  ],
  ['more bytes than any has', TEXT + 'x'.repeat(MAX_LOG_PROOF)],
] as const) {
  it(`refuses ${what}`, () => {
    assert.notEqual(text, TEXT);
    assert.throws(() => decodeLogProof(Buffer.from(text)), malformed(/./));
  });
}

it('refuses a list that the entry does not name, and an entry without the list it names', () => {
  assert.throws(() => encodeLogProof(PATH, ENTRY, undefined, FILE), malformed(/belongs to an entry/));
  assert.throws(() => encodeLogProof(PATH, BARE, SEALS, FILE), malformed(/belongs to an entry/));
});
