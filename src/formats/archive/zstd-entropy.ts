import { Malformed } from '../../errors/malformed.ts';

/**
 * The entropy coders of Zstandard (RFC 8878 §4): FSE and Huffman tables, and bit streams read from their
 * end. Every loop is bounded by a count, never by bits consumed: a table may well consume none.
 */

export function bad(fact: string): Malformed {
  return new Malformed('zstd', fact);
}

function log2(value: number): number {
  return 31 - Math.clz32(value);
}

/** A bit stream that is read from its last byte backwards, below a final 1 bit (RFC 8878 §4.1). */
export class BackwardBits {
  readonly #bytes: Uint8Array;
  /** Bits not read yet. Below zero: more was asked for than there was, and zeros were given. */
  left: number;

  constructor(bytes: Uint8Array) {
    const last = bytes[bytes.length - 1];
    if (last === undefined || last === 0) throw bad('bit stream without its end mark');
    this.#bytes = bytes;
    this.left = (bytes.length - 1) * 8 + log2(last);
  }

  /** The next `count` bits, at most 28. */
  read(count: number): number {
    if (count > 16) {
      const high = this.read(count - 16);
      return high * 65536 + this.read(16);
    }
    this.left -= count;
    const { left } = this;
    if (left >= 0) return this.#at(left) & ((1 << count) - 1);
    // Past the beginning the stream counts as zeros; what was left moves up.
    if (left + count <= 0) return 0;
    return (this.#at(0) & ((1 << (left + count)) - 1)) << -left;
  }

  #at(position: number): number {
    const bytes = this.#bytes;
    const at = position >> 3;
    const word = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
    return word >>> (position & 7);
  }
}

/** One cell a state: the symbol, how many bits come next, and what they are added to. */
export interface FseTable {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
  readonly bases: Uint16Array;
}

/** Builds a table from counts that sum to 2^log, where −1 stands for "less than one" (RFC 8878 §4.1.1). */
export function fseTable(counts: readonly number[], log: number): FseTable {
  const size = 1 << log;
  const symbols = new Uint8Array(size);
  const next = new Uint16Array(counts.length);
  let high = size;
  for (const [symbol, count] of counts.entries()) {
    next[symbol] = Math.abs(count);
    if (count === -1) symbols[--high] = symbol;
  }
  const step = (size >> 1) + (size >> 3) + 3;
  let position = 0;
  for (const [symbol, count] of counts.entries()) {
    for (let i = 0; i < count; i++) {
      symbols[position] = symbol;
      do position = (position + step) & (size - 1);
      while (position >= high);
    }
  }
  const bits = new Uint8Array(size);
  const bases = new Uint16Array(size);
  for (let state = 0; state < size; state++) {
    const symbol = symbols[state] ?? 0;
    const turn = next[symbol] ?? 1;
    next[symbol] = turn + 1;
    const width = log - log2(turn);
    bits[state] = width;
    bases[state] = (turn << width) - size;
  }
  return { log, symbols, bits, bases };
}

/** A table that always says `symbol`. */
export function rleTable(symbol: number): FseTable {
  return { log: 0, symbols: Uint8Array.of(symbol), bits: new Uint8Array(1), bases: new Uint16Array(1) };
}

/** Reads a table description; also how many bytes it took. */
export function readFseTable(
  bytes: Uint8Array,
  maxLog: number,
  maxSymbol: number,
): { table: FseTable; length: number } {
  const log = ((bytes[0] ?? 0) & 15) + 5;
  if (log > maxLog) throw bad('FSE accuracy too high');
  let position = 4;
  const peek = (count: number): number => {
    const at = position >> 3;
    const word = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
    return (word >>> (position & 7)) & ((1 << count) - 1);
  };
  const counts: number[] = [];
  const push = (count: number): void => {
    if (counts.length > maxSymbol) throw bad('FSE symbol out of range');
    counts.push(count);
  };
  let remaining = 1 << log;
  while (remaining > 0) {
    const width = log2(remaining + 1) + 1;
    // Values below `short` are written with one bit less.
    const short = (1 << width) - 2 - remaining;
    let value = peek(width);
    const low = value & ((1 << (width - 1)) - 1);
    if (low < short) {
      value = low;
      position += width - 1;
    } else {
      if (value >= 1 << (width - 1)) value -= short;
      position += width;
    }
    const count = value - 1;
    remaining -= Math.abs(count);
    push(count);
    if (count === 0) {
      let repeat: number;
      do {
        repeat = peek(2);
        position += 2;
        for (let i = 0; i < repeat; i++) push(0);
      } while (repeat === 3);
    }
  }
  const length = (position + 7) >> 3;
  if (remaining < 0 || length > bytes.length) throw bad('FSE table out of bounds');
  return { table: fseTable(counts, log), length };
}

export interface HuffmanTable {
  readonly log: number;
  readonly symbols: Uint8Array;
  readonly bits: Uint8Array;
}

function fseWeights(bytes: Uint8Array): number[] {
  const { table, length } = readFseTable(bytes, 6, 12);
  const stream = new BackwardBits(bytes.subarray(length));
  const states = [stream.read(table.log), stream.read(table.log)];
  if (stream.left < 0) throw bad('Huffman weights end early');
  const weights: number[] = [];
  const emit = (state: number): void => {
    if (weights.length === 255) throw bad('too many Huffman weights');
    weights.push(table.symbols[state] ?? 0);
  };
  // Two states take turns; the one that runs dry is followed by the other's last symbol.
  for (let turn = 0; ; turn ^= 1) {
    const state = states[turn] ?? 0;
    emit(state);
    states[turn] = (table.bases[state] ?? 0) + stream.read(table.bits[state] ?? 0);
    if (stream.left < 0) {
      emit(states[turn ^ 1] ?? 0);
      return weights;
    }
  }
}

/** Reads a Huffman tree description (RFC 8878 §4.2.1); also how many bytes it took. */
export function readHuffmanTable(bytes: Uint8Array): { table: HuffmanTable; length: number } {
  const header = bytes[0];
  if (header === undefined) throw bad('no Huffman table');
  const count = header - 127;
  const length = 1 + (header < 128 ? header : (count + 1) >> 1);
  if (length > bytes.length) throw bad('Huffman table out of bounds');
  const weights: number[] = [];
  if (header < 128) weights.push(...fseWeights(bytes.subarray(1, length)));
  for (let i = 0; i < count; i++) {
    const pair = bytes[1 + (i >> 1)] ?? 0;
    weights.push(i & 1 ? pair & 15 : pair >> 4);
  }
  let sum = 0;
  for (const weight of weights) {
    if (weight > 11) throw bad('Huffman code too long');
    if (weight > 0) sum += 1 << (weight - 1);
  }
  if (sum === 0) throw bad('empty Huffman table');
  const log = log2(sum) + 1;
  if (log > 11) throw bad('Huffman code too long');
  // The last weight is not written: it fills the table up to a power of two.
  const rest = (1 << log) - sum;
  if ((rest & (rest - 1)) !== 0) throw bad('Huffman table not complete');
  weights.push(log2(rest) + 1);

  const symbols = new Uint8Array(1 << log);
  const bits = new Uint8Array(1 << log);
  let at = 0;
  for (let weight = 1; weight <= log; weight++) {
    for (const [symbol, own] of weights.entries()) {
      if (own !== weight) continue;
      const end = at + (1 << (weight - 1));
      symbols.fill(symbol, at, end);
      bits.fill(log + 1 - weight, at, end);
      at = end;
    }
  }
  return { table: { log, symbols, bits }, length };
}

/** Decodes one Huffman stream, which must fill `out` exactly and be used up exactly. */
export function decodeHuffman(bytes: Uint8Array, table: HuffmanTable, out: Uint8Array): void {
  const last = bytes[bytes.length - 1];
  if (last === undefined || last === 0) throw bad('bit stream without its end mark');
  const { log, symbols, bits } = table;
  const mask = (1 << log) - 1;
  let left = (bytes.length - 1) * 8 + log2(last);
  for (let i = 0; i < out.length; i++) {
    const position = left - log;
    let code: number;
    if (position >= 0) {
      const at = position >> 3;
      const word = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
      code = (word >>> (position & 7)) & mask;
    } else {
      if (left <= 0) throw bad('literals end early');
      const word = (bytes[0] ?? 0) | ((bytes[1] ?? 0) << 8);
      code = (word << -position) & mask;
    }
    out[i] = symbols[code] ?? 0;
    left -= bits[code] ?? 0;
  }
  if (left !== 0) throw bad('literals not used up');
}
