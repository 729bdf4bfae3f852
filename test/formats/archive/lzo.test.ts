import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeLzo } from '../../../src/formats/archive/lzo.ts';
import { type Decoded, drained, noise } from '../../fixtures/streams.ts';

const MIB = 2 ** 20;

function lzop(content: Uint8Array, ...options: string[]): Buffer {
  return execFileSync('lzop', ['-c', ...options], { input: content, maxBuffer: 64 * MIB });
}

/** The content of the stream at `start`, and the offset behind it. */
function decode(bytes: Uint8Array, start = 0): Decoded {
  return drained(decodeLzo(bytes, start));
}

const WORDS = Buffer.from(
  Array.from({ length: 60_000 }, (_, index) => (index * 7919) % 65_537).join(' '),
  'latin1',
);

function adler32(bytes: Uint8Array): number {
  let [low, high] = [1, 0];
  for (const octet of bytes) {
    low = (low + octet) % 65_521;
    high = (high + low) % 65_521;
  }
  return high * 65_536 + low;
}

function u32(value: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(value >>> 0);
  return octets;
}

/** A stream whose header has these flags, around what is given. */
function stream(flags: number, ...body: Uint8Array[]): Buffer {
  const fields = Buffer.concat([
    Buffer.from('10402090094001', 'hex'),
    Buffer.from([5]),
    u32(flags),
    Buffer.alloc(13),
  ]);
  return Buffer.concat([
    Buffer.from('894c5a4f000d0a1a0a', 'hex'),
    fields,
    u32(adler32(fields)),
    ...body,
    u32(0),
  ]);
}

/** One block of instructions that unpack to `content`. */
function block(content: Uint8Array, instructions: readonly number[]): Buffer {
  return Buffer.concat([
    u32(content.length),
    u32(instructions.length),
    u32(adler32(content)),
    Buffer.from(instructions),
  ]);
}

const END = [0x11, 0, 0];
/** Four literals, `abcd`, as a block begins. */
const ABCD = [21, ...Buffer.from('abcd')];
const X = Buffer.from('x'.repeat(64));

describe('lzop', () => {
  for (const option of ['-1', '-3', '-7', '-9', '--crc32', '--no-name']) {
    it(`files are decoded as lzop ${option} makes them`, () => {
      for (const content of [Buffer.from('a'), WORDS, noise(300_001), Buffer.alloc(3 * MIB)]) {
        const bytes = lzop(content, option);
        const { content: decoded, end } = decode(bytes);
        assert.ok(decoded.equals(content));
        assert.equal(end, bytes.length);
      }
    });
  }

  it('files end where they end, whatever follows and wherever they begin', () => {
    const one = lzop(Buffer.from('one'));
    const image = Buffer.concat([Buffer.from('before'), one, lzop(Buffer.from('two'))]);
    const { content, end } = decode(image, 6);
    assert.deepEqual([content.toString(), end], ['one', 6 + one.length]);
    assert.equal(decode(image, end).content.toString(), 'two');
    assert.deepEqual(decode(lzop(Buffer.alloc(0))).content.length, 0);
  });

  it('files have a name that nobody looks at', () => {
    const fields = lzop(Buffer.from('content'), '--no-name');
    assert.equal(decode(fields).content.toString(), 'content');
    const named = execFileSync('sh', [
      '-c',
      'cd "$(mktemp -d)" && echo x > name && lzop name && cat name.lzo',
    ]);
    assert.ok(named.includes('name'));
    assert.equal(decode(named).content.toString(), 'x\n');
  });

  it('is inverted for any content', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 3000 }), fc.nat({ max: 60 }), (some, times) => {
        const content = Buffer.concat(Array(times + 1).fill(some));
        assert.ok(decode(lzop(content, times % 2 ? '-9' : '-3')).content.equals(content));
      }),
      { numRuns: 40 },
    );
  });

  it('files are refused when cut anywhere', () => {
    const bytes = lzop(WORDS.subarray(0, 2000));
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decode(bytes.subarray(0, length)), Malformed, `cut at ${length}`);
    }
  });

  it('files are refused whatever byte changed, or unchanged in what they hold', () => {
    const content = WORDS.subarray(0, 2000);
    const bytes = lzop(content);
    for (let at = 0; at < bytes.length; at++) {
      for (const bit of [0x01, 0x10, 0x80, 0xff]) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ bit;
        try {
          assert.ok(decode(changed).content.equals(content));
        } catch (error) {
          assert.ok(error instanceof Malformed, String(error));
        }
      }
    }
  });

  it('runs of zeros are known to the second version of the format alone', () => {
    const content = Buffer.concat([Buffer.from('abcd'), Buffer.alloc(12), Buffer.from('e')]);
    // 8 + 4 zeros, one literal behind them.
    const run = [...ABCD, 0x18, 0xfd, 0xff, 1, 0x65, ...END];
    assert.ok(decode(stream(1, block(content, [17, 1, ...run]))).content.equals(content));
    assert.throws(() => decode(stream(1, block(content, run))), /from before the block/);
  });

  it('matches of every kind reach as far as they say', () => {
    const start = Buffer.from('abcd');
    const far = Buffer.concat([noise(60_000), Buffer.from('!')]);
    for (const content of [
      // Two bytes behind a few literals, three far back behind many, and a match over itself.
      Buffer.concat([noise(2100), Buffer.alloc(300, 'z'), noise(2100)]),
      Buffer.concat([start, start, start, Buffer.alloc(5000, 'a'), start]),
      Buffer.concat([far, far.subarray(0, 1000), far.subarray(30_000, 31_000), far.subarray(59_000)]),
    ]) {
      for (const level of ['-1', '-5', '-9']) {
        assert.ok(decode(lzop(content, level)).content.equals(content), level);
      }
    }
    // Behind one literal, codes below 16 copy two bytes; behind many, three from beyond 2 KiB.
    const two = [...ABCD, 0x4d, 0, 0x78, 0x04, 0, 0xfc, 0, ...END];
    const text = 'abcdabcxcxcdabcxcx';
    assert.equal(decode(stream(1, block(Buffer.from(text), two))).content.toString(), text);
    const many = noise(2100);
    const three = [0, ...Buffer.alloc(8), 2100 - 18 - 8 * 255, ...many, 0, 0, 0x3e, 0, 0, ...END];
    const last = many.subarray(53, 54);
    const unpacked = Buffer.concat([many, many.subarray(51, 54), Buffer.alloc(32, last)]);
    assert.ok(decode(stream(1, block(unpacked, three))).content.equals(unpacked));
  });

  for (const [what, bytes, why] of [
    ['another magic', Buffer.from('894c5a4f000d0a1a0b'.padEnd(80, '0'), 'hex'), /no header/],
    ['a filter', stream(0x801), /a filter/],
    ['no sum for each block', lzop(X, '--no-checksum'), /not one sum/],
    ['two sums for each block', stream(3), /not one sum/],
    ['two kinds of sums', stream(0x101), /not one sum/],
    ['a block of more than 256 KiB', stream(1, u32(2 ** 18 + 1), u32(1), u32(0)), /more than the kernel/],
    ['a block of no bytes', stream(1, u32(4), u32(0), u32(0)), /larger compressed/],
    ['a block that grew', stream(1, u32(4), u32(5), u32(0), Buffer.alloc(5)), /larger compressed/],
    [
      'a match from before the beginning',
      stream(1, block(X, [18, 0x61, 0x40, 1, ...END])),
      /from before the block/,
    ],
    ['a match from too far back', stream(1, block(X, [...ABCD, 0x50, 0, ...END])), /from before the block/],
    ['literals past the end', stream(1, block(X, [30, 1, 2, 3, ...END])), /literals that run past/],
    [
      'more content than it says',
      stream(1, block(X.subarray(0, 12), [...ABCD, 0x27, 0, 0, ...END])),
      /more content/,
    ],
    ['less content than it says', stream(1, block(X, [...ABCD, ...END])), /less content/],
    ['no end', stream(1, block(X, ABCD)), /mid-instruction/],
    ['bytes behind the end', stream(1, block(X, [...ABCD, ...END, 0])), /an end that is none/],
    ['an end of another length', stream(1, block(X, [...ABCD, 0x12, 0, 0])), /an end that is none/],
    ['a length without end', stream(1, block(X, [0, 0, 0, 0, 0])), /mid-instruction/],
  ] as const) {
    it(`is refused with ${what}`, () => {
      assert.throws(
        () => decode(bytes),
        (error) => {
          assert.ok(error instanceof Malformed, String(error));
          assert.match(error.message, why);
          return true;
        },
      );
    });
  }
});
