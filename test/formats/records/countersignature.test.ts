import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Malformed } from '../../../src/errors/malformed.ts';
import {
  decodeCountersignature,
  encodeCountersignature,
} from '../../../src/formats/records/countersignature.ts';

const VALUE = {
  time: Date.UTC(2026, 10, 1),
  release: 'arch/2026.11.01',
  manifest: 'ab'.repeat(32),
  origin: 'https://mirror.example/arch/',
  originalSigners: ['cd'.repeat(32), 'ef'.repeat(20)],
};
const TEXT = `bootseal-countersignature 1
time 2026-11-01T00:00:00Z
release arch/2026.11.01
manifest ${'ab'.repeat(32)}
origin https://mirror.example/arch/
original-signer ${'cd'.repeat(32)}
original-signer ${'ef'.repeat(20)}
`;

describe('a countersignature', () => {
  it('is written in one way and read back', () => {
    assert.equal(Buffer.from(encodeCountersignature(VALUE)).toString(), TEXT);
    assert.deepEqual(decodeCountersignature(Buffer.from(TEXT)), VALUE);
  });

  it('is refused when it is cut anywhere', () => {
    const whole = TEXT.length;
    // A signer fewer is another countersignature, and a whole one.
    const fewer = TEXT.lastIndexOf('original-signer');
    for (let length = 0; length < whole; length += 1) {
      if (length === fewer) continue;
      assert.throws(() => decodeCountersignature(Buffer.from(TEXT.slice(0, length))), Malformed, `${length}`);
    }
  });

  for (const [what, from, to] of [
    ['another first line', 'countersignature 1', 'countersignature 2'],
    ['a time that rolls over', '2026-11-01T', '2026-11-31T'],
    ['no release id', 'arch/2026', '../2026'],
    ['capitals in a digest', 'manifest ab', 'manifest AB'],
    ['an origin that nobody fetches from', 'https:', 'ftp:'],
    ['a blank too many', 'time ', 'time  '],
    ['keys out of order', 'release arch/2026.11.01\n', ''],
    ['one signer twice', 'ef'.repeat(20), 'cd'.repeat(32)],
    ['an unknown key', 'original-signer ef', 'original-friend ef'],
    ['no signer', /original-signer .*\n/g, ''],
  ] as const) {
    it(`with ${what} is refused`, () => {
      const text = TEXT.replace(from as string, to);
      const bytes = Buffer.from(from instanceof RegExp ? TEXT.replaceAll(from, to) : text);
      assert.throws(() => decodeCountersignature(bytes), Malformed);
    });
  }

  it('has no form for values that break their line', () => {
    for (const broken of [
      { origin: 'https://a/\nrelease b/1' },
      { origin: '' },
      { release: 'a' },
      { originalSigners: [] },
      { originalSigners: Array.from({ length: 9 }, (_, at) => String(at).repeat(40)) },
    ])
      assert.throws(() => encodeCountersignature({ ...VALUE, ...broken }), Malformed);
  });
});
