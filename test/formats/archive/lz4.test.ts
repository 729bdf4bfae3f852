import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeLz4Legacy } from '../../../src/formats/archive/lz4.ts';
import { type Decoded, drained, noise } from '../../fixtures/streams.ts';

const MIB = 2 ** 20;

function lz4(content: Uint8Array, ...options: string[]): Buffer {
  return execFileSync('lz4', ['-q', '-l', '-c', ...options], { input: content, maxBuffer: 64 * MIB });
}

/** The content of the stream at `start`, and the offset behind it. */
function decode(bytes: Uint8Array, start = 0): Decoded {
  return drained(decodeLz4Legacy(bytes, start));
}

const WORDS = Buffer.from(
  Array.from({ length: 40_000 }, (_, index) => (index * 7919) % 65_537).join(' '),
  'latin1',
);

/** A stream of one chunk. */
function chunk(...block: number[]): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(block.length);
  return Buffer.concat([Buffer.from([0x02, 0x21, 0x4c, 0x18]), length, Buffer.from(block)]);
}

describe('legacy frames of lz4', () => {
  for (const option of ['-1', '-9', '-12', '--fast=8']) {
    it(`are decoded as lz4 -l ${option} makes them`, () => {
      for (const content of [Buffer.from('a'), WORDS, noise(300_001), Buffer.alloc(3 * MIB)]) {
        const bytes = lz4(content, option);
        const { content: decoded, end } = decode(bytes);
        assert.ok(decoded.equals(content));
        assert.equal(end, bytes.length);
      }
    });
  }

  it('are decoded in chunks of 8 MiB, whatever these hold', () => {
    const content = Buffer.concat([Buffer.alloc(9 * MIB), noise(8 * MIB), WORDS]);
    assert.ok(decode(lz4(content)).content.equals(content));
  });

  it('are the inverse of lz4 for any content', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 3000 }), fc.nat({ max: 40 }), (some, times) => {
        const content = Buffer.concat(Array(times + 1).fill(some));
        assert.ok(decode(lz4(content)).content.equals(content));
      }),
      { numRuns: 30 },
    );
  });

  it('end before zeros and with the file, and go on behind another magic', () => {
    const one = lz4(Buffer.from('one, one, one, one'));
    const both = decode(Buffer.concat([one, lz4(Buffer.from('two'))]));
    assert.equal(both.content.toString(), 'one, one, one, onetwo');
    for (const behind of ['\0\0\0\0', '\0\0\0\x000707', '\0', '\0\0\0', 'abc']) {
      const { content, end } = decode(Buffer.concat([one, Buffer.from(behind)]));
      assert.deepEqual([content.toString(), end], ['one, one, one, one', one.length], behind);
    }
    // Three zeros and a digit are a length to the kernel, of 805 million bytes.
    assert.throws(() => decode(Buffer.concat([one, Buffer.from('\0\0\x000707')])), /runs past the end/);
  });

  it('are refused when cut anywhere in a chunk', () => {
    const bytes = lz4(WORDS.subarray(0, 2000));
    for (let length = 0; length < bytes.length; length++) {
      const cut = bytes.subarray(0, length);
      // A magic alone, or with less than a length, is an empty stream.
      if (length >= 4 && length < 8) assert.deepEqual(decode(cut), { content: Buffer.alloc(0), end: 4 });
      else assert.throws(() => decode(cut), Malformed, `cut at ${length}`);
    }
  });

  it('do not crash whatever byte changed', () => {
    const bytes = lz4(WORDS.subarray(0, 2000));
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [0x01, 0x10, 0x80, 0xff]) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ bit;
        try {
          assert.ok(decode(changed).content.length <= 8 * MIB);
        } catch (error) {
          assert.ok(error instanceof Malformed, String(error));
        }
      }
    }
  });

  for (const [what, bytes, why] of [
    ['no magic', Buffer.from('04224d1800000000', 'hex'), /no legacy frame/],
    ['literals past the end', chunk(0x50, 1, 2), /literals that run past/],
    ['a length without end', chunk(0xf0, 255, 255), /mid-sequence/],
    ['a match at the very beginning', chunk(0x00, 1, 0, 0x50, 1, 2, 3, 4, 5), /from before the chunk/],
    ['a distance of zero', chunk(0x10, 9, 0, 0, 0x50, 1, 2, 3, 4, 5), /from before the chunk/],
    ['a match with too little behind it', chunk(0x10, 9, 1, 0, 0x40, 1, 2, 3, 4), /at the end of a chunk/],
    [
      'more than 8 MiB from one chunk',
      chunk(0x1f, 9, 1, 0, ...Array<number>(33_000).fill(255), 0, 0x50, 1, 2, 3, 4, 5),
      /more content than a chunk/,
    ],
  ] as const) {
    it(`are refused with ${what}`, () => {
      assert.throws(
        () => decode(bytes),
        (error) => {
          assert.ok(error instanceof Malformed);
          assert.match(error.message, why);
          return true;
        },
      );
    });
  }

  it('run a match over itself', () => {
    assert.equal(
      decode(chunk(0x10, 97, 1, 0, 0x50, 1, 2, 3, 4, 5)).content.toString('latin1', 0, 5),
      'aaaaa',
    );
  });
});
