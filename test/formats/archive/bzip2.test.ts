import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeBzip2 } from '../../../src/formats/archive/bzip2.ts';
import { type Decoded, drained, noise } from '../../fixtures/streams.ts';

const MIB = 2 ** 20;

function bzip2(content: Uint8Array, ...options: string[]): Buffer {
  return execFileSync('bzip2', ['-c', ...options], { input: content, maxBuffer: 64 * MIB });
}

/** The content of the stream at `start`, and the offset behind it. */
function decode(bytes: Uint8Array, start = 0): Decoded {
  return drained(decodeBzip2(bytes, start));
}

const WORDS = Buffer.from(Array.from({ length: 40_000 }, (_, index) => (index * 7919) % 65_537).join(' '));
const MIXED = Buffer.concat([WORDS, noise(300_000), Buffer.alloc(MIB), WORDS.subarray(7)]);

describe('streams of bzip2', () => {
  for (const level of ['-1', '-9']) {
    it(`are decoded as bzip2 ${level} makes them`, () => {
      for (const content of [Buffer.alloc(0), Buffer.from('a'), MIXED]) {
        const bytes = bzip2(content, level);
        const { content: decoded, end } = decode(Buffer.concat([bytes, Buffer.from('behind')]));
        assert.ok(decoded.equals(content));
        assert.equal(end, bytes.length);
      }
    });
  }

  it('hold runs of any length', () => {
    const runs = Array.from({ length: 520 }, (_, length) => Buffer.alloc(length, length));
    const content = Buffer.concat(runs);
    assert.ok(decode(bzip2(content)).content.equals(content));
  });

  it('are the inverse of bzip2 for any content', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), fc.nat({ max: 40 }), (some, times) => {
        const content = Buffer.concat(Array(times + 1).fill(some));
        assert.ok(decode(bzip2(content)).content.equals(content));
      }),
      { numRuns: 30 },
    );
  });

  it('are refused when cut anywhere', () => {
    const bytes = bzip2(WORDS.subarray(0, 800));
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decode(bytes.subarray(0, length)), Malformed, `cut at ${length}`);
    }
  });

  it('are refused or the same, whatever bit changed', () => {
    const content = WORDS.subarray(0, 300);
    const bytes = bzip2(content);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (0x80 >> (bit & 7));
      try {
        // The level may be another, and the last byte is filled up.
        assert.ok(decode(changed).content.equals(content), `bit ${bit}`);
      } catch (error) {
        assert.ok(error instanceof Malformed, String(error));
      }
    }
  });

  it('are refused with a block larger than their level allows, and with none at all', () => {
    const bytes = bzip2(noise(200_000));
    bytes[3] = 0x31;
    assert.throws(() => decode(bytes), /a block larger than allowed/);
    for (const head of ['BZh0', 'BZh:', 'BZi9']) {
      assert.throws(() => decode(Buffer.from(head.padEnd(20))), /no header/);
    }
    assert.throws(() => decode(Buffer.from('BZh9'.padEnd(20))), /neither a block nor an end/);
  });
});
