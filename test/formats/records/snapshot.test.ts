import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { decodeSnapshot, encodeSnapshot, type Snapshot } from '../../../src/formats/records/snapshot.ts';
import { malformed } from '../strict.ts';

const SNAPSHOT: Snapshot = {
  channel: 'stable',
  counter: 7,
  issued: Date.UTC(2026, 10, 1),
  expires: Date.UTC(2026, 10, 8),
  release: 'arch/2026.11.01',
  serial: 2026110100,
  manifest: 'a'.repeat(64),
  bestBefore: Date.UTC(2027, 0, 30),
  rollbackFrom: 'arch/2026.11.02',
};
const TEXT = Buffer.from(encodeSnapshot(SNAPSHOT)).toString('latin1');

it('is what its docstring shows', () => {
  assert.equal(
    TEXT,
    [
      'bootseal-snapshot 1',
      'channel stable',
      'counter 7',
      'issued 2026-11-01T00:00:00Z',
      'expires 2026-11-08T00:00:00Z',
      'release arch/2026.11.01',
      'serial 2026110100',
      `manifest ${'a'.repeat(64)}`,
      'best-before 2027-01-30T00:00:00Z',
      'rollback-from arch/2026.11.02',
      '',
    ].join('\n'),
  );
});

it('decode undoes encode', () => {
  fc.assert(
    fc.property(
      fc.nat(),
      fc.integer({ min: 0, max: 4e9 }),
      fc.integer({ min: 1, max: 1e6 }),
      fc.boolean(),
      (counter, issued, lasts, back) => {
        const snapshot = {
          ...SNAPSHOT,
          counter,
          issued: issued * 1000,
          expires: (issued + lasts) * 1000,
          rollbackFrom: back ? 'arch/2027.01.01' : undefined,
        };
        assert.deepEqual(decodeSnapshot(encodeSnapshot(snapshot)), snapshot);
      },
    ),
  );
});

it('is refused when cut at any byte', () => {
  for (let length = 0; length < TEXT.length; length += 1) {
    // Without its last line it is a snapshot that is no rollback, and whole.
    if (TEXT.slice(0, length) === TEXT.slice(0, TEXT.indexOf('rollback-from'))) continue;
    assert.throws(
      () => decodeSnapshot(Buffer.from(TEXT.slice(0, length))),
      malformed(/snapshot/),
      `${length} bytes`,
    );
  }
});

for (const [what, text] of [
  ['another version', TEXT.replace('snapshot 1', 'snapshot 2')],
  ['an unknown line', `${TEXT}more yes\n`],
  ['a line twice', TEXT.replace('counter 7\n', 'counter 7\ncounter 7\n')],
  ['a counter with a leading zero', TEXT.replace('counter 7', 'counter 07')],
  ['a counter below zero', TEXT.replace('counter 7', 'counter -7')],
  ['carriage returns', TEXT.replaceAll('\n', '\r\n')],
  ['a channel that leaves its folder', TEXT.replace('channel stable', 'channel ..')],
  ['a release that leaves its folder', TEXT.replace('release arch/2026.11.01', 'release ../2026')],
  ['an end before its beginning', TEXT.replace('expires 2026-11-08', 'expires 2026-10-08')],
  ['a digest in capitals', TEXT.replace('a'.repeat(64), 'A'.repeat(64))],
  ['more bytes than any has', `${TEXT}${'x'.repeat(4096)}\n`],
] as const) {
  it(`refuses ${what}`, () => {
    assert.throws(() => decodeSnapshot(Buffer.from(text)), malformed(/snapshot/));
  });
}
