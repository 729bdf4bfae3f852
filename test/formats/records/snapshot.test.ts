import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import {
  type ChannelRelease,
  decodeSnapshot,
  defaultRelease,
  encodeSnapshot,
  type Snapshot,
  withReleases,
} from '../../../src/formats/records/snapshot.ts';
import { malformed } from '../strict.ts';

const SNAPSHOT: Snapshot = {
  channel: 'stable',
  counter: 7,
  issued: Date.UTC(2026, 10, 1),
  expires: Date.UTC(2026, 10, 8),
  releases: [
    {
      arch: 'x86_64',
      release: 'arch/2026.11.01',
      serial: 2026110100,
      manifest: 'a'.repeat(64),
      bestBefore: Date.UTC(2027, 0, 30),
      rollbackFrom: 'arch/2026.11.02',
    },
  ],
};
const [ONE] = SNAPSHOT.releases;
assert.ok(ONE);
const named = (arch: string): ChannelRelease => ({ ...ONE, arch, rollbackFrom: undefined });
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
      'arch x86_64',
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
      fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }),
      (counter, issued, lasts, back) => {
        const snapshot = {
          ...SNAPSHOT,
          counter,
          issued: issued * 1000,
          expires: (issued + lasts) * 1000,
          releases: back.map((yes, index) => ({
            ...named(`arch${index}`),
            rollbackFrom: yes ? 'arch/2027.01.01' : undefined,
          })),
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
  ['no architecture', TEXT.replace('arch x86_64\n', '')],
  ['nothing for any', TEXT.slice(0, TEXT.indexOf('arch x86_64'))],
  ['an architecture that leaves its folder', TEXT.replace('arch x86_64', 'arch ..')],
  ['an architecture twice', TEXT + TEXT.slice(TEXT.indexOf('arch x86_64'))],
  ['architectures out of order', TEXT + TEXT.slice(TEXT.indexOf('arch x86_64')).replace('x86', 'arm')],
  ['half of a second architecture', `${TEXT}arch y\nrelease arch/2026.11.01\n`],
  ['a digest in capitals', TEXT.replace('a'.repeat(64), 'A'.repeat(64))],
  ['more bytes than any has', `${TEXT}${'x'.repeat(8192)}\n`],
] as const) {
  it(`refuses ${what}`, () => {
    assert.throws(() => decodeSnapshot(Buffer.from(text)), malformed(/snapshot/));
  });
}

it('of an earlier Bootseal is told so', () => {
  const earlier = TEXT.replace('arch x86_64\n', '');
  assert.throws(
    () => decodeSnapshot(Buffer.from(earlier)),
    malformed(/earlier Bootseal.*publish to a new state/),
  );
});

it('is not written of none, of one twice, or out of order', () => {
  for (const releases of [[], [named('a'), named('a')], [named('b'), named('a')]])
    assert.throws(() => encodeSnapshot({ ...SNAPSHOT, releases }), malformed(/snapshot/));
});

it('takes a release in the place of that of its architecture alone', () => {
  const newer = { ...named('b'), release: 'arch/2026.11.09' };
  const arches = (releases: readonly ChannelRelease[]) => releases.map(({ arch }) => arch);
  assert.deepEqual(withReleases([named('a'), named('b')], [newer]), [named('a'), newer]);
  assert.deepEqual(arches(withReleases([named('c')], [newer, named('a')])), ['a', 'b', 'c']);
  assert.deepEqual(withReleases([], [newer]), [newer]);
});

it('speaks for x86_64 where nobody says which machine asks, else for its first', () => {
  const of = (...arches: string[]) => defaultRelease({ ...SNAPSHOT, releases: arches.map(named) }).arch;
  assert.deepEqual(
    [of('aarch64', 'x86_64'), of('aarch64', 'riscv64'), of('x86_64_v3')],
    ['x86_64', 'aarch64', 'x86_64_v3'],
  );
});
