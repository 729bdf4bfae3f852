import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Malformed } from '../../../src/errors/malformed.ts';
import { Xxh64 } from '../../../src/formats/archive/xxh64.ts';
import { decodeZstdFrame } from '../../../src/formats/archive/zstd.ts';

const MAX_BUFFER = 64 * 2 ** 20;

function zstd(content: Uint8Array, ...options: string[]): Buffer {
  return execFileSync('zstd', ['-q', '-c', ...options], { input: content, maxBuffer: MAX_BUFFER });
}

/** The content of the frame at `start`, and the offset behind it. */
function decode(bytes: Uint8Array, start = 0): { content: Buffer; end: number } {
  const frame = decodeZstdFrame(bytes, start);
  const pieces: Uint8Array[] = [];
  for (;;) {
    const step = frame.next();
    if (step.done) return { content: Buffer.concat(pieces), end: step.value };
    pieces.push(step.value);
  }
}

/** Text with a grammar of its own: literals, near and far repeats, runs. */
function sample(octets: number): Buffer {
  let seed = 1;
  const next = (limit: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % limit;
  };
  const out = Buffer.alloc(octets);
  for (let at = 0; at < octets; ) {
    const kind = next(4);
    const length = Math.min(1 + next(300), octets - at);
    if (kind === 0) out.fill(next(256), at, at + length);
    else if (kind === 1 && at > 0) {
      const from = next(at);
      for (let i = 0; i < length; i++) out[at + i] = out[from + i] ?? 0;
    } else for (let i = 0; i < length; i++) out[at + i] = 97 + next(kind === 2 ? 4 : 26);
    at += length;
  }
  return out;
}

/** More than the window of zstd's fast levels, which thus slides. */
const SAMPLE = sample(3_000_000);
/** Enough blocks for the slow ones, whose windows are larger than either. */
const SMALLER = SAMPLE.subarray(0, 700_000);

/** A frame without content size, window of 1 KiB, around blocks. */
function frame(...blocks: (readonly number[])[]): Buffer {
  return Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00, ...blocks.flat()]);
}

function lastBlock(type: number, size: number, ...body: number[]): number[] {
  const word = 1 | (type << 1) | (size << 3);
  return [word & 0xff, (word >> 8) & 0xff, word >> 16, ...body];
}

describe('zstd frames', () => {
  for (const [given, ...options] of [
    [SAMPLE, '-1'],
    [SAMPLE, '-3'],
    [SMALLER, '-19'],
    [SMALLER, '--ultra', '-22', '--long=27'],
    [SAMPLE, '--fast=5'],
    [SAMPLE, '-9', '--no-check'],
    [SMALLER, '-12', '--long=24', '-T2'],
  ] as const) {
    it(`decodes what zstd ${options.join(' ')} makes`, () => {
      const bytes = zstd(given, ...options);
      const { content, end } = decode(bytes);
      assert.ok(content.equals(given));
      assert.equal(end, bytes.length);
    });
  }

  it('decodes small, empty, random and uniform content', () => {
    for (const content of [
      Buffer.alloc(0),
      Buffer.from('a'),
      randomBytes(300_000),
      Buffer.alloc(5_000_000),
    ]) {
      assert.ok(decode(zstd(content)).content.equals(content));
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), fc.nat({ max: 19 }), (content, level) => {
        assert.deepEqual(decode(zstd(content, `-${level || 1}`)).content, Buffer.from(content));
      }),
      { numRuns: 25 },
    );
  });

  it('ends where the frame ends', () => {
    const bytes = Buffer.concat([zstd(Buffer.from('one')), zstd(Buffer.from('two')), Buffer.from('rest')]);
    const one = decode(bytes);
    assert.equal(one.content.toString(), 'one');
    const two = decode(bytes, one.end);
    assert.equal(two.content.toString(), 'two');
    assert.equal(bytes.subarray(two.end).toString(), 'rest');
  });

  it('refuses a frame cut at any length', () => {
    const bytes = zstd(sample(3000), '-9');
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decode(bytes.subarray(0, length)), Malformed, `cut at ${length}`);
    }
  });

  it('refuses a frame of which any byte changed', () => {
    const bytes = zstd(sample(3000), '-19');
    for (let at = 0; at < bytes.length; at++) {
      // The window's size may well be larger than needed.
      if (at === 5) continue;
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0x11;
      assert.throws(() => decode(changed), Malformed, `byte ${at}`);
    }
  });

  it('finds a changed byte in content by the checksum', () => {
    const content = randomBytes(1000);
    const bytes = zstd(content);
    const at = bytes.indexOf(content.subarray(500, 520));
    assert.ok(at > 0);
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    assert.throws(() => decode(bytes), /content checksum/);
  });

  it('refuses a window larger than the kernel takes', () => {
    const bytes = zstd(sample(10_000), '--ultra', '-22', '--long=28');
    // Content of unknown size keeps the window that was asked for.
    assert.throws(() => decode(bytes), /window of 268435456 bytes/);
  });

  it('refuses skippable frames, dictionaries and reserved bits by name', () => {
    assert.throws(() => decode(Buffer.from('502a4d180400000000000000', 'hex')), /skippable/);
    const bytes = zstd(Buffer.from('abc'));
    const dictionary = Buffer.concat([bytes.subarray(0, 5), Buffer.from([0x00, 0x07]), bytes.subarray(6)]);
    dictionary[4] = 0x01;
    assert.throws(() => decode(dictionary), /dictionary/);
    const reserved = Buffer.from(bytes);
    reserved[4] = (reserved[4] ?? 0) | 0x08;
    assert.throws(() => decode(reserved), /reserved bit/);
    assert.throws(() => decode(frame(lastBlock(3, 0))), /reserved block type/);
  });

  it('refuses blocks larger than the window', () => {
    assert.equal(decode(frame(lastBlock(1, 1024, 0x61))).content.length, 1024);
    assert.throws(() => decode(frame(lastBlock(1, 1025, 0x61))), /block larger/);
  });

  it('refuses a match before the beginning', () => {
    // The literal "a", then one match of three; the tables say one code each. Offset 1, and offset 5.
    const block = (offsetCode: number, bits: number): number[] =>
      lastBlock(2, 8, 0x08, 0x61, 1, 0x54, 1, offsetCode, 0, bits);
    assert.equal(decode(frame(block(2, 0x04))).content.toString(), 'aaaa');
    assert.throws(() => decode(frame(block(3, 0x08))), /before the beginning/);
  });

  it('ends on a Huffman table whose states consume no bits', () => {
    // One symbol takes all of the weights' FSE table, so every state is followed without reading a bit. A
    // decoder that waits for the bits to run out never comes back from these 20 bytes.
    const endless = Buffer.from('28b52ffd00005d000082c0010510f80100800100', 'hex');
    assert.throws(() => decode(endless), /too many Huffman weights/);
  });

  it('survives any bytes', () => {
    const bytes = zstd(sample(2000), '--no-check', '-19');
    const edits = fc.array(fc.tuple(fc.nat({ max: bytes.length - 7 }), fc.nat({ max: 255 })), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(edits, (changes) => {
        const changed = Buffer.from(bytes);
        for (const [at, octet] of changes) changed[6 + at] = octet;
        try {
          decode(changed);
        } catch (error) {
          assert.ok(error instanceof Malformed, String((error as Error).stack));
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('XXH64', () => {
  const hash = (...pieces: Uint8Array[]): string => {
    const state = new Xxh64();
    for (const piece of pieces) state.update(piece);
    return state
      .digest()
      .map((half) => half.toString(16).padStart(8, '0'))
      .join('');
  };

  it('gives the published values', () => {
    assert.equal(hash(), 'ef46db3751d8e999');
    assert.equal(hash(Buffer.from('a')), 'd24ec4f1a98c6e5b');
    assert.equal(hash(Buffer.from('abc')), '44bc2cf5ad770999');
    assert.equal(hash(Buffer.from('Nobody inspects the spammish repetition')), 'fbcea83c8a378bf1');
  });

  it('gives the same however the bytes arrive', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 80 }), { maxLength: 8 }), (pieces) => {
        assert.equal(hash(...pieces), hash(Buffer.concat(pieces)));
      }),
    );
  });
});
