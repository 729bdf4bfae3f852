import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import {
  ACT_KINDS,
  decodeLogEntry,
  encodeLogEntry,
  type LogEntry,
  MAX_LOG_ENTRY,
  MAX_MESSAGE,
  MAX_ORIGIN,
  MAX_SIGNERS,
} from '../../../src/formats/records/log-entry.ts';
import { demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const sha256 = (digit: string) => digit.repeat(64);
const ENTRY: LogEntry = {
  index: 41,
  time: Date.UTC(2026, 10, 1),
  clock: Date.UTC(2026, 9, 31, 22),
  act: 'refuse',
  channel: 'stable',
  release: 'arch/2026.11.01',
  manifest: sha256('a'),
  serial: 2026110100,
  counter: 7,
  rollbackFrom: 'arch/2026.11.02',
  origin: 'https://mirror.example/arch/',
  seals: sha256('b'),
  signers: [sha256('c'), 'd'.repeat(40)],
  file: { sha256: sha256('e'), path: 'arch/x86_64/airootfs.sfs' },
  refusal: { code: 'bad-signature', message: 'The seal  does not match.' },
};
const TEXT = [
  'bootseal-log-entry 1',
  'index 41',
  'time 2026-11-01T00:00:00Z',
  'clock 2026-10-31T22:00:00Z',
  'act refuse',
  'channel stable',
  'release arch/2026.11.01',
  `manifest ${sha256('a')}`,
  'serial 2026110100',
  'counter 7',
  'rollback-from arch/2026.11.02',
  'origin https://mirror.example/arch/',
  `seals ${sha256('b')}`,
  `signer ${sha256('c')}`,
  `signer ${'d'.repeat(40)}`,
  `file ${sha256('e')} arch/x86_64/airootfs.sfs`,
  'refusal bad-signature',
  'message The seal  does not match.',
  '',
].join('\n');
const SHORTEST: LogEntry = {
  ...Object.fromEntries(Object.keys(ENTRY).map((key) => [key, undefined])),
  index: 0,
  time: 0,
  act: 'renew',
  signers: [],
};

it('is what its docstring shows', () => {
  assert.equal(Buffer.from(encodeLogEntry(ENTRY)).toString(), TEXT);
  assert.deepEqual(decodeLogEntry(Buffer.from(TEXT)), ENTRY);
});

it('decode undoes encode, whichever lines are left out', () => {
  const seconds = fc.integer({ min: 0, max: 4e9 }).map((count) => count * 1000);
  const maybe = <K extends keyof LogEntry>(key: K) => fc.constantFrom(ENTRY[key], undefined);
  fc.assert(
    fc.property(
      fc.record(
        {
          index: fc.maxSafeNat(),
          time: seconds,
          clock: fc.constant(undefined),
          act: fc.constantFrom(...ACT_KINDS),
          channel: maybe('channel'),
          release: maybe('release'),
          manifest: maybe('manifest'),
          serial: maybe('serial'),
          counter: maybe('counter'),
          rollbackFrom: maybe('rollbackFrom'),
          origin: maybe('origin'),
          seals: maybe('seals'),
          signers: fc.subarray([sha256('1'), '2'.repeat(40), sha256('3')]),
          file: maybe('file'),
          refusal: maybe('refusal'),
        },
        { noNullPrototype: true },
      ),
      (entry) => assert.deepEqual(decodeLogEntry(encodeLogEntry(entry)), entry),
    ),
  );
});

it('fits its bound with every line as long as it may be', () => {
  const segment = (length: number) => 'x'.repeat(length);
  const longest: LogEntry = {
    ...ENTRY,
    index: Number.MAX_SAFE_INTEGER,
    act: 'quarantine',
    channel: segment(255),
    release: `${segment(64)}/${segment(64)}`,
    serial: Number.MAX_SAFE_INTEGER,
    counter: Number.MAX_SAFE_INTEGER,
    rollbackFrom: `${segment(64)}/${segment(64)}`,
    origin: segment(MAX_ORIGIN),
    signers: Array.from({ length: MAX_SIGNERS }, (_, index) => sha256(String(index))),
    file: { sha256: sha256('e'), path: `${segment(255)}/${segment(255)}/${segment(255)}/${segment(255)}` },
    refusal: { code: 'wrong-command-line', message: segment(MAX_MESSAGE) },
  };
  const { length } = encodeLogEntry(longest);
  assert.ok(length <= MAX_LOG_ENTRY, `${length} bytes`);
  assert.deepEqual(decodeLogEntry(encodeLogEntry(longest)), longest);
});

it('is refused when cut within a line, and with anything after it', () => {
  for (let length = 0; length < TEXT.length; length += 1) {
    const cut = TEXT.slice(0, length);
    // At the end of a line it is an entry that says less; a code without its message is none.
    if (cut.endsWith('\n') && cut.includes('\nact ') && !cut.endsWith('refusal bad-signature\n')) continue;
    assert.throws(() => decodeLogEntry(Buffer.from(cut)), malformed(/log entry/), `${length} bytes`);
  }
  demandNothingAfter(decodeLogEntry, Buffer.from(TEXT));
  assert.ok(demandFlipsHandled(decodeLogEntry, Buffer.from(TEXT)) > 0);
});

for (const [what, text] of [
  ['another version', TEXT.replace('entry 1', 'entry 2')],
  ['an unknown line', `${TEXT}more yes\n`],
  ['a line twice', TEXT.replace('counter 7\n', 'counter 7\ncounter 7\n')],
  ['lines out of order', TEXT.replace('serial 2026110100\ncounter 7\n', 'counter 7\nserial 2026110100\n')],
  ['an empty line', TEXT.replace('counter 7\n', 'counter 7\n\n')],
  ['an index with a leading zero', TEXT.replace('index 41', 'index 041')],
  ['an unknown act', TEXT.replace('act refuse', 'act bless')],
  ['a clock that was not set back', TEXT.replace('clock 2026-10-31T22', 'clock 2026-11-01T00')],
  ['a time that rolls over', TEXT.replace('time 2026-11-01', 'time 2026-02-30')],
  ['a digest in capitals', TEXT.replace(sha256('a'), sha256('A'))],
  ['a signer twice', TEXT.replace('d'.repeat(40), sha256('c'))],
  ['a fingerprint of no known length', TEXT.replace('d'.repeat(40), 'd'.repeat(41))],
  ['a file outside its release', TEXT.replace('arch/x86_64/airootfs.sfs', '../airootfs.sfs')],
  ['a code without a message', TEXT.replace(/message .*\n/, '')],
  ['a message without a code', TEXT.replace(/refusal .*\n/, '')],
  ['an empty message', TEXT.replace(/message .*\n/, 'message \n')],
  ['blanks after a message', TEXT.replace('match.\n', 'match. \n')],
  ['bytes beyond ASCII', TEXT.replace('match', 'm\u00e4tch')],
  ['carriage returns', TEXT.replaceAll('\n', '\r\n')],
  ['an overlong origin', TEXT.replace('https://mirror', `https://${'m'.repeat(MAX_ORIGIN)}`)],
] as const) {
  it(`refuses ${what}`, () => {
    assert.notEqual(text, TEXT);
    assert.throws(() => decodeLogEntry(Buffer.from(text)), malformed(/log entry/));
  });
}

for (const [what, wrong] of [
  ['a message over two lines', { refusal: { code: 'absent', message: 'gone\nact publish' } }],
  ['a channel that brings a line of its own', { channel: 'stable\nrelease arch/1' }],
  ['a byte that would be cut to ASCII', { channel: 'st\u0161ble' }],
  ['too many signers', { signers: Array.from({ length: 9 }, (_, index) => sha256(String(index))) }],
] as const) {
  it(`has no form for ${what}`, () => {
    assert.throws(() => encodeLogEntry({ ...SHORTEST, ...wrong }), malformed(/log entry/));
  });
}

it('has the acts of a state folder', () => {
  for (const act of ACT_KINDS) {
    assert.equal(decodeLogEntry(encodeLogEntry({ ...SHORTEST, act })).act, act);
  }
  assert.equal(ACT_KINDS.length, 22);
});
