import { crc32 } from 'node:zlib';
import { Malformed } from '../../errors/malformed.ts';

/**
 * What `lzop` writes, as the kernel takes it (lib/decompress_unlzo.c): a header, then blocks of at most 256 KiB, each
 * LZO1X by itself (Documentation/staging/lzo.rst) or stored, and a size of zero at the end. Numbers have their highest
 * byte first.
 */

const FORMAT = 'lzo';
export const LZOP_MAGIC = [0x89, 0x4c, 0x5a, 0x4f, 0x00, 0x0d, 0x0a, 0x1a, 0x0a] as const;
const BLOCK = 2 ** 18;
const PIECE = 128 * 1024;
/** From this version on a header has a level and the upper half of a time. */
const VERSION_WITH_LEVEL = 0x0940;
/** Flags: a sum of each block's content, as Adler-32 or CRC-32; of each block as compressed; a filter; the header's sum. */
const ADLER32_CONTENT = 0x0001;
const CRC32_CONTENT = 0x0100;
const SUM_COMPRESSED = 0x0202;
const FILTER = 0x0800;
const CRC32_HEADER = 0x1000;

/** Farthest that the short matches reach: what lies beyond begins here. */
const NEAR = 2048;
const FAR = 16384;
/** A run of zeros is at least this long. */
const ZERO_RUN = 4;

/**
 * Yields the content of the stream that begins at `start`, in pieces of at most 128 KiB which are the caller's own;
 * returns the offset behind it. Sums are checked, which the kernel steps over unread; where there is not just one for
 * each block, the kernel takes the other for data, so that is refused. Memory: 256 KiB. Throws `Malformed`.
 */
export function* decodeLzo(bytes: Uint8Array, start = 0): Generator<Uint8Array, number> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const { sum, end } = header(bytes, view, start);
  const out = new Uint8Array(BLOCK);
  let at = end;
  for (;;) {
    const size = u32(view, at);
    if (size === 0) return at + 4;
    if (size > BLOCK) throw new Malformed(FORMAT, `a block of ${size} bytes, more than the kernel takes`, at);
    const length = u32(view, at + 4);
    const said = u32(view, at + 8);
    if (length === 0 || length > size)
      throw new Malformed(FORMAT, 'a block that is larger compressed', at + 4);
    at += 12;
    if (length > bytes.length - at) throw new Malformed(FORMAT, 'ends early', bytes.length);
    const block = bytes.subarray(at, at + length);
    if (length === size) out.set(block);
    else if (decodeBlock(block, out.subarray(0, size), at) !== size) {
      throw new Malformed(FORMAT, 'a block with less content than it says', at);
    }
    if (sum(out.subarray(0, size)) !== said) throw new Malformed(FORMAT, 'sum of a block does not match', at);
    for (let from = 0; from < size; from += PIECE) yield out.slice(from, Math.min(from + PIECE, size));
    at += length;
  }
}

function u32(view: DataView, at: number): number {
  if (at + 4 > view.byteLength) throw new Malformed(FORMAT, 'ends early', view.byteLength);
  return view.getUint32(at);
}

interface Header {
  /** The sum that each block's content has. */
  readonly sum: (bytes: Uint8Array) => number;
  /** Offset behind the header. */
  readonly end: number;
}

function header(bytes: Uint8Array, view: DataView, start: number): Header {
  const octet = (at: number): number => {
    const value = bytes[at];
    if (value === undefined) throw new Malformed(FORMAT, 'ends early', bytes.length);
    return value;
  };
  if (LZOP_MAGIC.some((value, index) => octet(start + index) !== value)) {
    throw new Malformed(FORMAT, 'no header', start);
  }
  const fields = start + LZOP_MAGIC.length;
  // Versions of the writer, its library and the oldest reader, and the method.
  const modern = octet(fields) * 256 + octet(fields + 1) >= VERSION_WITH_LEVEL;
  const flagsAt = fields + (modern ? 8 : 7);
  const flags = u32(view, flagsAt);
  if (flags & FILTER) throw new Malformed(FORMAT, 'a filter, which the kernel leaves on', flagsAt);
  const adler = (flags & ADLER32_CONTENT) !== 0;
  if (adler === ((flags & CRC32_CONTENT) !== 0) || flags & SUM_COMPRESSED) {
    throw new Malformed(FORMAT, 'not one sum for each block, as the kernel wants it', flagsAt);
  }
  // Mode, time, name.
  const nameAt = flagsAt + 4 + (modern ? 12 : 8);
  const sumAt = nameAt + 1 + octet(nameAt);
  const said = u32(view, sumAt);
  const summed = bytes.subarray(fields, sumAt);
  if (said !== (flags & CRC32_HEADER ? crc32(summed) : adler32(summed))) {
    throw new Malformed(FORMAT, 'sum of the header does not match', sumAt);
  }
  return { sum: adler ? adler32 : crc32, end: sumAt + 4 };
}

/** RFC 1950 §8.2. */
function adler32(bytes: Uint8Array): number {
  let low = 1;
  let high = 0;
  for (let at = 0; at < bytes.length; ) {
    // As many as keep both sums below 2³².
    for (const end = Math.min(at + 5552, bytes.length); at < end; at++) {
      low += bytes[at] as number;
      high += low;
    }
    low %= 65_521;
    high %= 65_521;
  }
  return high * 65_536 + low;
}

/** Decodes one block into `out` and returns its size, by the rules of the kernel's `lzo1x_decompress_safe`. */
function decodeBlock(block: Uint8Array, out: Uint8Array, offset: number): number {
  let at = 0;
  let size = 0;
  const damaged = (what: string) => new Malformed(FORMAT, what, offset + at);
  const take = (): number => {
    const octet = block[at++];
    if (octet === undefined) throw damaged('ends in mid-instruction');
    return octet;
  };
  /** A length whose bits, `nibble`, are zero where it is larger than they can say. */
  const long = (nibble: number, largest: number): number => {
    if (nibble !== 0) return nibble;
    let length = largest;
    for (;;) {
      const octet = take();
      if (octet !== 0) return length + octet;
      length += 255;
    }
  };
  const literals = (count: number): void => {
    if (count > block.length - at) throw damaged('literals that run past the end');
    if (count > out.length - size) throw damaged('more content than a block says');
    out.set(block.subarray(at, at + count), size);
    at += count;
    size += count;
  };
  const match = (distance: number, length: number): void => {
    if (distance > size) throw damaged('a match from before the block');
    if (length > out.length - size) throw damaged('more content than a block says');
    const from = size - distance;
    if (distance >= length) out.copyWithin(size, from, from + length);
    else for (let i = 0; i < length; i++) out[size + i] = out[from + i] as number;
    size += length;
  };
  const zeros = (length: number): void => {
    if (length > out.length - size) throw damaged('more content than a block says');
    out.fill(0, size, size + length);
    size += length;
  };

  // Version 1 has an instruction for runs of zeros. What begins with 17 and is shorter than any stream of it is none.
  let version = 0;
  if (block.length >= 5 && block[0] === 17) {
    version = block[1] as number;
    at = 2;
  }
  /** Literals that the last instruction brought: up to three as its rest, or 4 for a run of them. */
  let state = 0;
  const first = block[at] ?? 0;
  if (first > 17) {
    at++;
    literals(first - 17);
    state = Math.min(first - 17, 4);
  }
  for (;;) {
    const code = take();
    if (code < 16 && state === 0) {
      literals(long(code, 15) + 3);
      state = 4;
      continue;
    }
    let rest = code & 3;
    if (code >= 64) {
      match(take() * 8 + ((code >> 2) & 7) + 1, (code >> 5) + 1);
    } else if (code >= 32) {
      const length = long(code & 31, 31) + 2;
      const word = take() | (take() << 8);
      match((word >> 2) + 1, length);
      rest = word & 3;
    } else if (code >= 16) {
      const nextWord = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8);
      if (version !== 0 && (code & 8) !== 0 && nextWord >= 0xfffc) {
        at += 2;
        zeros(take() * 8 + (code & 7) + ZERO_RUN);
        rest = nextWord & 3;
      } else {
        const length = long(code & 7, 7) + 2;
        const word = take() | (take() << 8);
        const distance = ((code & 8) << 11) + (word >> 2);
        if (distance === 0) {
          if (length !== 3 || at !== block.length) throw damaged('an end that is none');
          return size;
        }
        match(FAR + distance, length);
        rest = word & 3;
      }
    } else if (state === 4) {
      match(take() * 4 + (code >> 2) + NEAR + 1, 3);
    } else {
      match(take() * 4 + (code >> 2) + 1, 2);
    }
    literals(rest);
    state = rest;
  }
}
