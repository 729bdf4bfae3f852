/**
 * XXH64 with seed 0 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md): the content checksum of a zstd frame.
 * It finds damage, never malice. On 32-bit halves: BigInt is ten times too slow for an initramfs.
 */

// Halves of the five primes.
const P1 = [0x9e3779b1, 0x85ebca87] as const;
const P2 = [0xc2b2ae3d, 0x27d4eb4f] as const;
const P3 = [0x165667b1, 0x9e3779f9] as const;
const P4 = [0x85ebca77, 0xc2b2ae63] as const;
const P5 = [0x27d4eb2f, 0x165667c5] as const;

type Half = readonly [high: number, low: number];

/** High 32 bits of an unsigned 32 × 32 product. */
function highProduct(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const cross = a0 * b1 + (middle & 0xffff);
  // Each sum stays below 2³², so shifting loses nothing.
  return (a1 * b1 + (middle >>> 16) + (cross >>> 16)) | 0;
}

/** A 64-bit number that changes in place. */
class Word {
  high: number;
  low: number;

  constructor(high: number, low: number) {
    this.high = high;
    this.low = low;
  }

  add(high: number, low: number): this {
    const sum = (this.low >>> 0) + (low >>> 0);
    this.high = (this.high + high + (sum > 0xffffffff ? 1 : 0)) | 0;
    this.low = sum | 0;
    return this;
  }

  multiply([high, low]: Half): this {
    const carried = highProduct(this.low, low);
    this.high = (carried + Math.imul(this.low, high) + Math.imul(this.high, low)) | 0;
    this.low = Math.imul(this.low, low);
    return this;
  }

  rotate(bits: number): this {
    const { high, low } = this;
    if (bits < 32) {
      this.high = (high << bits) | (low >>> (32 - bits));
      this.low = (low << bits) | (high >>> (32 - bits));
    } else {
      this.high = (low << (bits - 32)) | (high >>> (64 - bits));
      this.low = (high << (bits - 32)) | (low >>> (64 - bits));
    }
    return this;
  }

  xor(high: number, low: number): this {
    this.high ^= high;
    this.low ^= low;
    return this;
  }

  /** self ^= self >> bits */
  fold(bits: number): this {
    const { high, low } = this;
    if (bits < 32) return this.xor(high >>> bits, (low >>> bits) | (high << (32 - bits)));
    return this.xor(0, bits === 32 ? high : high >>> (bits - 32));
  }

  /** One step of a lane. */
  round(high: number, low: number): this {
    const input = scratch;
    input.high = high;
    input.low = low;
    input.multiply(P2);
    return this.add(input.high, input.low).rotate(31).multiply(P1);
  }
}

const scratch = new Word(0, 0);

/** Streaming: `update` as often as wanted, then `digest` once. */
export class Xxh64 {
  readonly #lanes = [
    new Word(...P1).add(...P2),
    new Word(...P2),
    new Word(0, 0),
    new Word(~P1[0], ~P1[1]).add(0, 1),
  ] as const;
  readonly #held = new Uint8Array(32);
  #heldLength = 0;
  #total = 0;

  update(bytes: Uint8Array): void {
    this.#total += bytes.length;
    let at = 0;
    if (this.#heldLength > 0) {
      at = Math.min(32 - this.#heldLength, bytes.length);
      this.#held.set(bytes.subarray(0, at), this.#heldLength);
      this.#heldLength += at;
      if (this.#heldLength < 32) return;
      this.#stripes(this.#held, 0);
      this.#heldLength = 0;
    }
    at = this.#stripes(bytes, at);
    this.#held.set(bytes.subarray(at));
    this.#heldLength = bytes.length - at;
  }

  #stripes(bytes: Uint8Array, from: number): number {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const [a, b, c, d] = this.#lanes;
    let at = from;
    for (; at + 32 <= bytes.length; at += 32) {
      a.round(view.getInt32(at + 4, true), view.getInt32(at, true));
      b.round(view.getInt32(at + 12, true), view.getInt32(at + 8, true));
      c.round(view.getInt32(at + 20, true), view.getInt32(at + 16, true));
      d.round(view.getInt32(at + 28, true), view.getInt32(at + 24, true));
    }
    return at;
  }

  /** High and low half, both unsigned. */
  digest(): Half {
    const hash = new Word(...P5);
    if (this.#total >= 32) {
      hash.high = hash.low = 0;
      const shifts = [1, 7, 12, 18];
      for (const [index, lane] of this.#lanes.entries()) {
        const turned = new Word(lane.high, lane.low).rotate(shifts[index] ?? 0);
        hash.add(turned.high, turned.low);
      }
      for (const lane of this.#lanes) {
        const mixed = new Word(0, 0).round(lane.high, lane.low);
        hash
          .xor(mixed.high, mixed.low)
          .multiply(P1)
          .add(...P4);
      }
    }
    hash.add(Math.floor(this.#total / 2 ** 32), this.#total | 0);

    const rest = new DataView(this.#held.buffer, 0, this.#heldLength);
    let at = 0;
    for (; at + 8 <= rest.byteLength; at += 8) {
      const mixed = new Word(0, 0).round(rest.getInt32(at + 4, true), rest.getInt32(at, true));
      hash
        .xor(mixed.high, mixed.low)
        .rotate(27)
        .multiply(P1)
        .add(...P4);
    }
    if (at + 4 <= rest.byteLength) {
      const word = new Word(0, rest.getInt32(at, true)).multiply(P1);
      hash
        .xor(word.high, word.low)
        .rotate(23)
        .multiply(P2)
        .add(...P3);
      at += 4;
    }
    for (; at < rest.byteLength; at++) {
      const word = new Word(0, rest.getUint8(at)).multiply(P5);
      hash.xor(word.high, word.low).rotate(11).multiply(P1);
    }
    hash.fold(33).multiply(P2).fold(29).multiply(P3).fold(32);
    return [hash.high >>> 0, hash.low >>> 0];
  }
}
