import { Malformed } from '../../errors/malformed.ts';

/**
 * The old container of LZMA (`lzma`, `xz --format=lzma`): properties, size of the dictionary, size of the content or
 * all ones, and one range-coded stream (Pavlov's "LZMA specification", in the LZMA SDK). It has no checksum.
 */

const FORMAT = 'lzma';
const HEADER = 13;
/** As for zstd; the highest level of xz has half of it. */
const DICTIONARY_LIMIT = 2 ** 27;
const PIECE = 128 * 1024;
const MAX_MATCH = 273;
const STATES = 12;
const POSITION_STATES = 16;
const END_MARK = 0xffff_ffff;

/**
 * Yields the content of the stream that begins at `start`, in pieces of at most 128 KiB which are the caller's own;
 * returns the offset behind it. Memory: the dictionary and a quarter, at most 160 MiB. Throws `Malformed`.
 */
export function* decodeLzma(bytes: Uint8Array, start = 0): Generator<Uint8Array, number> {
  const decoder = new LzmaDecoder(bytes, start);
  for (let last = false; !last; ) {
    const { piece, ended } = decoder.next();
    if (piece.length > 0) yield piece;
    last = ended;
  }
  return decoder.end();
}

/** How a bare stream was coded: what a container's first byte would say. */
export interface LzmaProperties {
  readonly literalBits: number;
  readonly literalPositions: number;
  readonly positionBits: number;
}

/**
 * What a range-coded stream holds that stands in no container, as boot loaders carry their own code: nothing says where it
 * ends, so it is read until it breaks, or until there are `limit` bytes. Throws `Malformed` where none begins at `start`.
 */
export function decodeBareLzma(
  bytes: Uint8Array,
  start: number,
  { literalBits, literalPositions, positionBits }: LzmaProperties,
  limit: number,
): Uint8Array {
  const header = Buffer.alloc(HEADER, 0xff);
  header[0] = (positionBits * 5 + literalPositions) * 9 + literalBits;
  header.writeUInt32LE(limit, 1);
  return new LzmaDecoder(Buffer.concat([header, bytes.subarray(start)]), 0).asFarAsItGoes(limit);
}

/** Probabilities of one kind of bit, each one half at first. */
function even(count: number): Uint16Array {
  return new Uint16Array(count).fill(1024);
}

/** Bits out of a range-coded stream. */
class RangeDecoder {
  readonly #bytes: Uint8Array;
  #range = 0xffff_ffff;
  #code = 0;
  at: number;

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes;
    this.at = start;
    if (this.#byte() !== 0) throw new Malformed(FORMAT, 'no range-coded stream', start);
    for (let i = 0; i < 4; i++) this.#code = this.#code * 256 + this.#byte();
    if (this.#code === 0xffff_ffff) throw new Malformed(FORMAT, 'damaged', start);
  }

  /** Whether all that was written has been read, as it is behind the last bit. */
  get finished(): boolean {
    return this.#code === 0;
  }

  #byte(): number {
    const octet = this.#bytes[this.at];
    if (octet === undefined) throw new Malformed(FORMAT, 'ends early', this.at);
    this.at++;
    return octet;
  }

  #normalize(): void {
    if (this.#range >= 2 ** 24) return;
    this.#range *= 256;
    this.#code = this.#code * 256 + this.#byte();
  }

  bit(probabilities: Uint16Array, index: number): 0 | 1 {
    const probability = probabilities[index] as number;
    const bound = (this.#range >>> 11) * probability;
    const one = this.#code >= bound;
    if (one) {
      this.#range -= bound;
      this.#code -= bound;
      probabilities[index] = probability - (probability >> 5);
    } else {
      this.#range = bound;
      probabilities[index] = probability + ((2048 - probability) >> 5);
    }
    this.#normalize();
    return one ? 1 : 0;
  }

  /** A number of `count` bits, the highest first. */
  tree(probabilities: Uint16Array, offset: number, count: number): number {
    let node = 1;
    for (let i = 0; i < count; i++) node = node * 2 + this.bit(probabilities, offset + node);
    return node - 2 ** count;
  }

  /** The lowest bit first. */
  reverseTree(probabilities: Uint16Array, offset: number, count: number): number {
    let node = 1;
    let value = 0;
    for (let i = 0; i < count; i++) {
      const bit = this.bit(probabilities, offset + node);
      node = node * 2 + bit;
      value += bit * 2 ** i;
    }
    return value;
  }

  /** Bits without a model. */
  direct(count: number): number {
    let value = 0;
    for (let i = 0; i < count; i++) {
      this.#range = Math.floor(this.#range / 2);
      const one = this.#code >= this.#range;
      if (one) this.#code -= this.#range;
      value = value * 2 + (one ? 1 : 0);
      this.#normalize();
    }
    return value;
  }
}

/** Lengths of matches, less two. */
class LengthDecoder {
  readonly #choice = even(2);
  readonly #low = even(POSITION_STATES * 8);
  readonly #middle = even(POSITION_STATES * 8);
  readonly #high = even(256);

  next(range: RangeDecoder, positionState: number): number {
    if (range.bit(this.#choice, 0) === 0) return range.tree(this.#low, positionState * 8, 3);
    if (range.bit(this.#choice, 1) === 0) return 8 + range.tree(this.#middle, positionState * 8, 3);
    return 16 + range.tree(this.#high, 0, 8);
  }
}

class LzmaDecoder {
  readonly #range: RangeDecoder;
  readonly #literalBits: number;
  readonly #literalPositions: number;
  readonly #positionMask: number;
  readonly #dictionary: number;
  /** Bytes of content; infinite where an end mark says it. */
  readonly #size: number;
  readonly #literals: Uint16Array;
  readonly #isMatch = even(STATES * POSITION_STATES);
  readonly #isRepeat = even(STATES);
  readonly #isRepeat0 = even(STATES);
  readonly #isRepeat1 = even(STATES);
  readonly #isRepeat2 = even(STATES);
  readonly #isRepeat0Long = even(STATES * POSITION_STATES);
  readonly #slots = even(4 * 64);
  readonly #distances = even(128);
  readonly #alignment = even(16);
  readonly #matchLength = new LengthDecoder();
  readonly #repeatLength = new LengthDecoder();
  #history = new Uint8Array(4 * PIECE);
  /** Where the content so far ends in `#history`, and how long all of it is. */
  #end = 0;
  #total = 0;
  #state = 0;
  #repeats: [number, number, number, number] = [0, 0, 0, 0];

  constructor(bytes: Uint8Array, start: number) {
    if (bytes.length - start < HEADER) throw new Malformed(FORMAT, 'ends early', bytes.length);
    const view = new DataView(bytes.buffer, bytes.byteOffset + start, HEADER);
    const properties = view.getUint8(0);
    if (properties >= 9 * 5 * 5) throw new Malformed(FORMAT, 'properties that are none', start);
    this.#literalBits = properties % 9;
    this.#literalPositions = Math.floor(properties / 9) % 5;
    this.#positionMask = 2 ** Math.floor(properties / 45) - 1;
    this.#literals = even(0x300 * 2 ** (this.#literalBits + this.#literalPositions));
    this.#dictionary = Math.max(1, view.getUint32(1, true));
    if (this.#dictionary > DICTIONARY_LIMIT) {
      throw new Malformed(FORMAT, `dictionary of ${this.#dictionary} bytes`, start + 1);
    }
    const [low, high] = [view.getUint32(5, true), view.getUint32(9, true)];
    const unknown = low === 0xffff_ffff && high === 0xffff_ffff;
    this.#size = unknown ? Number.POSITIVE_INFINITY : high * 2 ** 32 + low;
    this.#range = new RangeDecoder(bytes, start + HEADER);
  }

  /** Offset behind the stream, once it has ended. */
  end(): number {
    if (!this.#range.finished) throw new Malformed(FORMAT, 'damaged at its end', this.#range.at);
    return this.#range.at;
  }

  next(): { readonly piece: Uint8Array; readonly ended: boolean } {
    this.#makeRoom();
    const before = this.#end;
    const full = before + PIECE - MAX_MATCH;
    let ended = this.#total >= this.#size;
    while (!ended && this.#end < full) ended = this.#symbol() || this.#total >= this.#size;
    return { piece: this.#history.slice(before, this.#end), ended };
  }

  /** All of the content until the stream breaks, or until there are so many bytes. */
  asFarAsItGoes(limit: number): Uint8Array {
    try {
      for (let ended = false; !ended && this.#total < limit; ) ({ ended } = this.next());
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
    }
    return this.#history.slice(0, Math.min(this.#end, limit));
  }

  /** Room for one more piece; what lies further back than the dictionary is dropped. */
  #makeRoom(): void {
    if (this.#end + PIECE <= this.#history.length) return;
    const most = this.#dictionary + Math.max(4 * PIECE, this.#dictionary / 4);
    const wanted = Math.min(this.#history.length * 2, most);
    if (wanted > this.#history.length) {
      const larger = new Uint8Array(wanted);
      larger.set(this.#history.subarray(0, this.#end));
      this.#history = larger;
      if (this.#end + PIECE <= wanted) return;
    }
    const kept = Math.min(this.#dictionary, this.#end);
    this.#history.copyWithin(0, this.#end - kept, this.#end);
    this.#end = kept;
  }

  /** Decodes a literal or a match. True: it was the end mark. */
  #symbol(): boolean {
    const positionState = this.#total & this.#positionMask;
    const at = this.#state * POSITION_STATES + positionState;
    if (this.#range.bit(this.#isMatch, at) === 0) {
      this.#literal();
      return false;
    }
    if (this.#range.bit(this.#isRepeat, this.#state) === 0) return this.#match(positionState);
    this.#repeat(positionState, at);
    return false;
  }

  #literal(): void {
    const range = this.#range;
    const previous = this.#total === 0 ? 0 : (this.#history[this.#end - 1] as number);
    const low = this.#total & (2 ** this.#literalPositions - 1);
    const context = (low << this.#literalBits) + (previous >> (8 - this.#literalBits));
    const offset = 0x300 * context;
    let symbol = 1;
    if (this.#state >= 7) {
      let beside = this.#byteBack(this.#repeats[0]);
      while (symbol < 0x100) {
        const expected = (beside >> 7) & 1;
        beside <<= 1;
        const bit = range.bit(this.#literals, offset + ((1 + expected) << 8) + symbol);
        symbol = symbol * 2 + bit;
        if (bit !== expected) break;
      }
    }
    while (symbol < 0x100) symbol = symbol * 2 + range.bit(this.#literals, offset + symbol);
    this.#history[this.#end++] = symbol;
    this.#total++;
    this.#state = this.#state < 4 ? 0 : this.#state - (this.#state < 10 ? 3 : 6);
  }

  #match(positionState: number): boolean {
    const length = this.#matchLength.next(this.#range, positionState);
    this.#state = this.#state < 7 ? 7 : 10;
    const distance = this.#distance(length);
    const [first, second, third] = this.#repeats;
    this.#repeats = [distance, first, second, third];
    if (distance === END_MARK) {
      if (this.#size !== Number.POSITIVE_INFINITY) throw this.#damaged('less content than the header says');
      return true;
    }
    this.#copy(length + 2);
    return false;
  }

  #distance(length: number): number {
    const range = this.#range;
    const slot = range.tree(this.#slots, Math.min(length, 3) * 64, 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const base = (2 | (slot & 1)) * 2 ** bits;
    if (slot < 14) return base + range.reverseTree(this.#distances, base - slot, bits);
    return base + range.direct(bits - 4) * 16 + range.reverseTree(this.#alignment, 0, 4);
  }

  #repeat(positionState: number, at: number): void {
    const range = this.#range;
    const [first, second, third, fourth] = this.#repeats;
    if (range.bit(this.#isRepeat0, this.#state) === 0) {
      if (range.bit(this.#isRepeat0Long, at) === 0) {
        this.#state = this.#state < 7 ? 9 : 11;
        this.#copy(1);
        return;
      }
    } else if (range.bit(this.#isRepeat1, this.#state) === 0) this.#repeats = [second, first, third, fourth];
    else if (range.bit(this.#isRepeat2, this.#state) === 0) this.#repeats = [third, first, second, fourth];
    else this.#repeats = [fourth, first, second, third];
    const length = this.#repeatLength.next(range, positionState);
    this.#state = this.#state < 7 ? 8 : 11;
    this.#copy(length + 2);
  }

  #byteBack(distance: number): number {
    if (distance >= this.#total || distance >= this.#dictionary) {
      throw this.#damaged('a match from before the dictionary');
    }
    return this.#history[this.#end - distance - 1] as number;
  }

  #copy(length: number): void {
    const [distance] = this.#repeats;
    this.#byteBack(distance);
    if (length > this.#size - this.#total) throw this.#damaged('more content than the header says');
    const history = this.#history;
    for (let i = 0; i < length; i++) history[this.#end + i] = history[this.#end + i - distance - 1] as number;
    this.#end += length;
    this.#total += length;
  }

  #damaged(what: string): Malformed {
    return new Malformed(FORMAT, what, this.#range.at);
  }
}
