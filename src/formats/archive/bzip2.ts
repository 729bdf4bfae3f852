import { Malformed } from '../../errors/malformed.ts';

/**
 * One stream of bzip2 (no standard; the author's bzip2 1.0.8): blocks of at most 900 kB, each by itself run-length
 * coded, sorted by Burrows and Wheeler, moved to front and Huffman coded, with a CRC; and a CRC of these.
 */

const FORMAT = 'bzip2';
const BLOCK_MAGIC = 0x314159265359;
const END_MAGIC = 0x177245385090;
const PIECE = 128 * 1024;
const GROUP = 50;
const MAX_LENGTH = 20;

/**
 * Yields the content of the stream that begins at `start`, in pieces of at most 128 KiB which are the caller's own;
 * returns the offset behind it. CRCs are checked, so nothing yielded counts before the generator has returned.
 * Memory: some 5 MB. Throws `Malformed`, also for randomised blocks, which neither bzip2 since 1999 writes nor the
 * kernel reads.
 */
export function* decodeBzip2(bytes: Uint8Array, start = 0): Generator<Uint8Array, number> {
  const bits = new BitReader(bytes, start);
  const level = bits.read(24) === 0x425a68 ? bits.read(8) - 0x30 : 0;
  if (level < 1 || level > 9) throw new Malformed(FORMAT, 'no header', start);
  let combined = 0;
  for (;;) {
    const magic = bits.read(24) * 2 ** 24 + bits.read(24);
    const said = (bits.read(16) * 65536 + bits.read(16)) >>> 0;
    if (magic === END_MAGIC) {
      if (said !== combined >>> 0) throw bits.damaged('CRC of the stream does not match');
      return bits.end();
    }
    if (magic !== BLOCK_MAGIC) throw bits.damaged('neither a block nor an end');
    const crc = yield* unsorted(decodeBlock(bits, level * 100_000));
    if (crc !== said) throw bits.damaged('CRC of a block does not match');
    combined = ((combined << 1) | (combined >>> 31)) ^ crc;
  }
}

/** Bits, the highest of a byte first. */
class BitReader {
  readonly #bytes: Uint8Array;
  #at: number;
  #held = 0;
  #count = 0;

  constructor(bytes: Uint8Array, start: number) {
    this.#bytes = bytes;
    this.#at = start;
  }

  /** @param count at most 24. */
  read(count: number): number {
    while (this.#count < count) {
      const octet = this.#bytes[this.#at];
      if (octet === undefined) throw this.damaged('ends early');
      this.#at++;
      this.#held = ((this.#held & 0xff_ffff) << 8) | octet;
      this.#count += 8;
    }
    this.#count -= count;
    return (this.#held >>> this.#count) & (2 ** count - 1);
  }

  /** Offset of the next whole byte: what is left of the last one counts for nothing. */
  end(): number {
    return this.#at;
  }

  damaged(what: string): Malformed {
    return new Malformed(FORMAT, what, this.#at);
  }
}

interface Block {
  /** Sorted bytes in the low eight bits; above them where the byte before each in the content's order leads. */
  readonly links: Uint32Array;
  readonly first: number;
}

function decodeBlock(bits: BitReader, limit: number): Block {
  if (bits.read(1) !== 0) throw bits.damaged('a randomised block');
  const origin = bits.read(24);
  const front = usedBytes(bits);
  const alphabet = front.length + 2;
  const tableCount = bits.read(3);
  if (tableCount < 2 || tableCount > 6) throw bits.damaged(`${tableCount} tables`);
  const selectors = readSelectors(bits, tableCount);
  const tables = Array.from({ length: tableCount }, () => new HuffmanTable(bits, alphabet));

  const links = new Uint32Array(limit);
  const counts = new Uint32Array(256);
  let size = 0;
  const put = (octet: number, times: number): void => {
    if (times > limit - size) throw bits.damaged('a block larger than allowed');
    links.fill(octet, size, size + times);
    counts[octet] = (counts[octet] as number) + times;
    size += times;
  };
  let run = 0;
  let weight = 1;
  for (let index = 0; ; index++) {
    const table = tables[selectors[Math.floor(index / GROUP)] ?? tableCount];
    if (table === undefined) throw bits.damaged('more symbols than selectors');
    const symbol = table.next(bits);
    if (symbol < 2) {
      // Digits 1 and 2 of a number to the base two, the lowest first.
      run += weight * (symbol + 1);
      weight *= 2;
      if (run > limit) throw bits.damaged('a block larger than allowed');
      continue;
    }
    if (run > 0) put(front[0] as number, run);
    run = 0;
    weight = 1;
    if (symbol === alphabet - 1) break;
    const [moved = 0] = front.splice(symbol - 1, 1);
    front.unshift(moved);
    put(moved, 1);
  }
  if (origin >= size) throw bits.damaged('an origin outside its block');
  return { links: linked(links.subarray(0, size), counts), first: origin };
}

/** Inverts the sorting: above each byte, the index of the one that follows it in the content. */
function linked(links: Uint32Array, counts: Uint32Array): Uint32Array {
  let sum = 0;
  for (const [octet, count] of counts.entries()) {
    counts[octet] = sum;
    sum += count;
  }
  for (let i = 0; i < links.length; i++) {
    const octet = (links[i] as number) & 0xff;
    const at = counts[octet] as number;
    counts[octet] = at + 1;
    links[at] = (links[at] as number) | (i << 8);
  }
  return links;
}

/** Yields what a block holds once its runs are long again; returns their CRC. */
function* unsorted({ links, first }: Block): Generator<Uint8Array, number> {
  let piece = new Uint8Array(PIECE);
  let filled = 0;
  let crc = 0xffff_ffff;
  let next = (links[first] as number) >>> 8;
  let previous = -1;
  let same = 0;
  for (let left = links.length; left > 0; left--) {
    const link = links[next] as number;
    next = link >>> 8;
    let octet = link & 0xff;
    let times = 1;
    if (same === 4) {
      // Behind four equal bytes stands how many more there are.
      times = octet;
      octet = previous;
      same = 0;
      previous = -1;
    } else {
      same = octet === previous ? same + 1 : 1;
      previous = octet;
    }
    for (; times > 0; times--) {
      piece[filled++] = octet;
      crc = (crc << 8) ^ (CRC_TABLE[(crc >>> 24) ^ octet] as number);
      if (filled < PIECE) continue;
      yield piece;
      piece = new Uint8Array(PIECE);
      filled = 0;
    }
  }
  if (filled > 0) yield piece.subarray(0, filled);
  return ~crc >>> 0;
}

function usedBytes(bits: BitReader): number[] {
  const rows = bits.read(16);
  const used: number[] = [];
  for (let row = 0; row < 16; row++) {
    if (((rows >> (15 - row)) & 1) === 0) continue;
    const columns = bits.read(16);
    for (let column = 0; column < 16; column++) {
      if ((columns >> (15 - column)) & 1) used.push(row * 16 + column);
    }
  }
  if (used.length === 0) throw bits.damaged('a block that uses no byte');
  return used;
}

/** Which table decodes each group of symbols. */
function readSelectors(bits: BitReader, tables: number): Uint8Array {
  const selectors = new Uint8Array(bits.read(15));
  if (selectors.length === 0) throw bits.damaged('no selector');
  const front = Array.from({ length: tables }, (_, index) => index);
  for (let i = 0; i < selectors.length; i++) {
    let at = 0;
    while (bits.read(1) === 1) if (++at >= tables) throw bits.damaged('a selector of no table');
    const [moved = 0] = front.splice(at, 1);
    front.unshift(moved);
    selectors[i] = moved;
  }
  return selectors;
}

/** Canonical codes: of one length they follow each other, and longer ones follow shorter. */
class HuffmanTable {
  readonly #symbols: number[] = [];
  readonly #counts = new Uint16Array(MAX_LENGTH + 1);

  constructor(bits: BitReader, alphabet: number) {
    const lengths: number[] = [];
    let length = bits.read(5);
    for (let symbol = 0; symbol < alphabet; symbol++) {
      for (;;) {
        if (length < 1 || length > MAX_LENGTH) throw bits.damaged(`a code of ${length} bits`);
        if (bits.read(1) === 0) break;
        length += bits.read(1) === 0 ? 1 : -1;
      }
      lengths.push(length);
      this.#counts[length] = (this.#counts[length] as number) + 1;
    }
    for (let wanted = 1; wanted <= MAX_LENGTH; wanted++) {
      for (const [symbol, one] of lengths.entries()) if (one === wanted) this.#symbols.push(symbol);
    }
  }

  next(bits: BitReader): number {
    let code = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length <= MAX_LENGTH; length++) {
      code = code * 2 + bits.read(1);
      first *= 2;
      const count = this.#counts[length] as number;
      const symbol = code - first < count ? this.#symbols[index + code - first] : undefined;
      if (symbol !== undefined) return symbol;
      index += count;
      first += count;
    }
    throw bits.damaged('a code that is none');
  }
}

/** CRC-32 with the highest bit first. */
const CRC_TABLE = Int32Array.from({ length: 256 }, (_, octet) => {
  let crc = octet << 24;
  for (let bit = 0; bit < 8; bit++) crc = crc < 0 ? (crc << 1) ^ 0x04c11db7 : crc << 1;
  return crc;
});
