import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { isoSeconds } from '../../../src/formats/records/lines.ts';
import {
  decodeSuccessors,
  encodeSuccessors,
  isOpenpgpKind,
  SUCCESSION_KINDS,
  type Successors,
} from '../../../src/formats/records/successors.ts';
import { demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const A = 'a'.repeat(64);
const B = 'b'.repeat(64);
const K = 'c'.repeat(40);
const L = 'd'.repeat(40);
const GOLDEN = `bootseal-successors 1
issued 2026-11-01T00:00:00Z
ca ${A} ${B}
codesign ${B} ${A}
boot ${A} ${B}
manifest ${B} ${A}
openpgp ${K} ${L}
openpgp-script ${L} ${K}
openpgp-manifest ${K} ${L}
snapshot ${A} ${B}
`;
const VALUE: Successors = {
  issued: Date.UTC(2026, 10, 1),
  steps: [
    { kind: 'ca', from: A, to: B },
    { kind: 'codesign', from: B, to: A },
    { kind: 'boot', from: A, to: B },
    { kind: 'manifest', from: B, to: A },
    { kind: 'openpgp', from: K, to: L },
    { kind: 'openpgp-script', from: L, to: K },
    { kind: 'openpgp-manifest', from: K, to: L },
    { kind: 'snapshot', from: A, to: B },
  ],
};
const decode = (text: string): Successors => decodeSuccessors(Buffer.from(text, 'latin1'));

describe('a record of successors', () => {
  it('is these bytes and means these values', () => {
    assert.deepEqual(decode(GOLDEN), VALUE);
    assert.equal(Buffer.from(encodeSuccessors(VALUE)).toString('latin1'), GOLDEN);
  });

  it('has one spelling: what is read is written again byte for byte', () => {
    const second = fc.integer({ min: 0, max: Date.UTC(9998, 0) / 1000 });
    const kinds = fc.subarray([...SUCCESSION_KINDS], { minLength: 1 });
    fc.assert(
      fc.property(kinds, second, fc.array(fc.integer({ min: 0, max: 15 })), (steps, issued, digits) => {
        const seed = digits.map((digit) => digit.toString(16)).join('');
        const text = [
          'bootseal-successors 1',
          `issued ${isoSeconds(issued * 1000)}`,
          ...steps.map((kind) => {
            const length = isOpenpgpKind(kind) ? 40 : 64;
            return `${kind} ${`0${seed}`.padEnd(length, '0').slice(0, length)} ${'f'.repeat(length)}`;
          }),
          '',
        ].join('\n');
        assert.equal(Buffer.from(encodeSuccessors(decode(text))).toString('latin1'), text);
      }),
    );
  });

  for (const [name, text, says] of [
    ['another first line', GOLDEN.replace(' 1\n', ' 2\n'), /first line/],
    ['no time', GOLDEN.replace(/issued .*\n/, ''), /line 2: "issued" belongs here/],
    ['a day that there is not', GOLDEN.replace('2026-11-01T', '2026-02-30T'), /issued is no time/],
    ['no steps', GOLDEN.split('\n').slice(0, 2).join('\n').concat('\n'), /names none/],
    ['a kind twice', GOLDEN.replace(/(ca .*\n)/, '$1$1'), /repeated or misplaced/],
    ['kinds in another order', GOLDEN.replace(/(ca .*\n)(codesign .*\n)/, '$2$1'), /misplaced/],
    ['an unknown kind', `${GOLDEN}pcr ${A} ${B}\n`, /unknown/],
    ['a key that follows itself', GOLDEN.replace(`ca ${A} ${B}`, `ca ${A} ${A}`), /ca follows itself/],
    ['a short fingerprint', GOLDEN.replace(`ca ${A}`, `ca ${A.slice(1)}`), /two fingerprints/],
    ['an OpenPGP fingerprint of a certificate', GOLDEN.replace(`ca ${A}`, `ca ${K}`), /two fingerprints/],
    ['a certificate for an OpenPGP key', GOLDEN.replace(K, A), /openpgp takes two fingerprints/],
    ['capitals', GOLDEN.replace(`ca ${A}`, `ca ${A.toUpperCase()}`), /two fingerprints/],
    ['one fingerprint', GOLDEN.replace(`ca ${A} ${B}`, `ca ${A}`), /takes 2 words/],
    ['three fingerprints', GOLDEN.replace(`ca ${A}`, `ca ${A} ${A}`), /takes 2 words/],
    ['two blanks', GOLDEN.replace('ca ', 'ca  '), /blanks beyond one/],
    ['no newline at the end', GOLDEN.slice(0, -1), /not lines of ASCII/],
    ['a carriage return', GOLDEN.replace('\n', '\r\n'), /not lines of ASCII/],
    ['an empty line', GOLDEN.replace('ca ', '\nca '), /misplaced/],
    ['nothing', '', /not lines of ASCII/],
    ['more bytes than any', `${GOLDEN}${'x'.repeat(4096)}\n`, /bytes/],
  ] as const) {
    it(`is refused for ${name}`, () => assert.throws(() => decode(text), malformed(says)));
  }

  it('is refused cut inside a line, and with anything behind it', () => {
    const bytes = Buffer.from(GOLDEN, 'latin1');
    for (let length = 0; length < bytes.length; length++) {
      // Whole lines less make a record of fewer keys; the seal beside it says that it is another one.
      if (length > 60 && bytes[length - 1] === 0x0a) continue;
      assert.throws(() => decodeSuccessors(bytes.subarray(0, length)), malformed(/./), `cut at ${length}`);
    }
    demandNothingAfter(decodeSuccessors, bytes);
    assert.ok(demandFlipsHandled(decodeSuccessors, bytes) > 0);
  });

  it('cannot be written with values that have no form', () => {
    const step = VALUE.steps[0];
    assert.ok(step);
    for (const value of [
      { ...VALUE, steps: [] },
      { ...VALUE, steps: [step, step] },
      { ...VALUE, steps: [...VALUE.steps].reverse() },
      { ...VALUE, steps: [{ ...step, to: `${A}\nboot ${A} ${B}` }] },
    ]) {
      assert.throws(() => encodeSuccessors(value), malformed(/./));
    }
  });
});
