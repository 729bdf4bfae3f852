import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeLzma } from '../../../src/formats/archive/lzma.ts';
import { type Decoded, drained, noise } from '../../fixtures/streams.ts';

const MIB = 2 ** 20;

function lzma(content: Uint8Array, ...options: string[]): Buffer {
  return execFileSync('xz', ['--format=lzma', '-c', ...options], { input: content, maxBuffer: 64 * MIB });
}

/** The content of the stream at `start`, and the offset behind it. */
function decode(bytes: Uint8Array, start = 0): Decoded {
  return drained(decodeLzma(bytes, start));
}

const WORDS = Buffer.from(Array.from({ length: 40_000 }, (_, index) => (index * 7919) % 65_537).join(' '));
/** Far repeats, more of them than a small dictionary holds. */
const MIXED = Buffer.concat([WORDS, noise(300_000), WORDS, Buffer.alloc(MIB), WORDS.subarray(7)]);
const SMALL = WORDS.subarray(0, 1500);

describe('streams of lzma', () => {
  for (const options of [
    ['-0'],
    ['-6'],
    ['-9e'],
    ['--lzma1=dict=4KiB,lc=0,lp=2,pb=0'],
    ['--lzma1=dict=64KiB,lc=4,lp=0,pb=4'],
    ['--lzma1=dict=1MiB,lc=1,lp=3,pb=2,mf=hc3,mode=fast'],
  ]) {
    it(`are decoded as xz --format=lzma ${options.join(' ')} makes them`, () => {
      for (const content of [Buffer.alloc(0), Buffer.from('a'), MIXED]) {
        const bytes = lzma(content, ...options);
        const { content: decoded, end } = decode(Buffer.concat([bytes, Buffer.from('behind')]));
        assert.ok(decoded.equals(content));
        assert.equal(end, bytes.length);
      }
    });
  }

  it('are the inverse of xz for any content', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.nat({ max: 40 }), (some, times) => {
        const content = Buffer.concat(Array(times + 1).fill(some));
        assert.ok(decode(lzma(content)).content.equals(content));
      }),
      { numRuns: 30 },
    );
  });

  it('are refused when cut anywhere', () => {
    const bytes = lzma(SMALL);
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decode(bytes.subarray(0, length)), Malformed, `cut at ${length}`);
    }
  });

  it('are malformed or end, whatever byte changed', () => {
    const bytes = lzma(SMALL, '--lzma1=dict=4KiB');
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [0x01, 0x10, 0x80, 0xff]) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ bit;
        try {
          decode(changed);
        } catch (error) {
          assert.ok(error instanceof Malformed, String(error));
        }
      }
    }
  });

  it('hold as much as their header says, where it says so', () => {
    const bytes = lzma(SMALL);
    const sized = (size: number) => {
      const changed = Buffer.from(bytes);
      changed.writeBigUInt64LE(BigInt(size), 5);
      return changed;
    };
    assert.throws(() => decode(sized(SMALL.length + 1)), /less content than the header says/);
    // Where the size is said the kernel reads no end mark: what is left of the stream is junk to it.
    assert.throws(() => decode(sized(SMALL.length)), /damaged at its end/);
    assert.throws(() => decode(sized(SMALL.length - 1)), /more content|damaged at its end/);
  });

  it('are refused with a header that is none, or a dictionary larger than allowed', () => {
    const bytes = lzma(SMALL);
    for (const [at, value, why] of [
      [0, 225, /properties that are none/],
      [4, 0x10, /dictionary of \d+ bytes/],
      [13, 1, /no range-coded stream/],
    ] as const) {
      const changed = Buffer.from(bytes);
      changed[at] = value;
      assert.throws(() => decode(changed), why);
    }
    const far = Buffer.concat([bytes.subarray(0, 13), Buffer.alloc(1), Buffer.alloc(40, 0xfe)]);
    assert.throws(() => decode(far), /from before the dictionary/);
  });
});
