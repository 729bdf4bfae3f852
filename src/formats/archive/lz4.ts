import { Malformed } from '../../errors/malformed.ts';

/**
 * The legacy frame of LZ4 (lz4_Frame_format.md, "Legacy frame"; `lz4 -l`): a magic, then chunks of at most 8 MiB,
 * each a block of its own behind its length (lz4_Block_format.md). It has neither end mark nor checksum.
 */

const FORMAT = 'lz4';
export const LZ4_LEGACY_MAGIC = [0x02, 0x21, 0x4c, 0x18] as const;
const MAGIC = 0x184c2102;
const CHUNK = 2 ** 23;
const PIECE = 128 * 1024;
/** A block ends in literals: no match is within the last five bytes of a full one, or starts in the last twelve. */
const LAST_LITERALS = 5;
const MATCH_LIMIT = 12;
const MIN_MATCH = 4;
/** Bytes of a block from a match's distance on: it, the last token, the last literals. */
const MIN_SEQUENCES = 2 + 1 + LAST_LITERALS;

/**
 * Yields the content of the stream that begins at `start`, in pieces of at most 128 KiB which are the caller's own;
 * returns the offset behind it. It ends where the kernel lets it end (lib/decompress_unlz4.c): before a length of
 * zero, or where fewer than four bytes are left. Further magics between chunks are passed over. Memory: 8 MiB.
 * Throws `Malformed`.
 */
export function* decodeLz4Legacy(bytes: Uint8Array, start = 0): Generator<Uint8Array, number> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length - start < 4 || view.getUint32(start, true) !== MAGIC) {
    throw new Malformed(FORMAT, 'no legacy frame', start);
  }
  const chunk = new Uint8Array(CHUNK);
  let at = start + 4;
  while (bytes.length - at >= 4) {
    const length = view.getUint32(at, true);
    if (length === 0) break;
    at += 4;
    if (length === MAGIC) continue;
    if (length > bytes.length - at) throw new Malformed(FORMAT, 'a chunk that runs past the end', at - 4);
    const size = decodeBlock(bytes.subarray(at, at + length), chunk, at);
    for (let from = 0; from < size; from += PIECE) yield chunk.slice(from, Math.min(from + PIECE, size));
    at += length;
  }
  return at;
}

/** Decodes one block into `out` and returns its size, by the rules of `LZ4_decompress_safe`. */
function decodeBlock(block: Uint8Array, out: Uint8Array, offset: number): number {
  let at = 0;
  let size = 0;
  const damaged = (what: string) => new Malformed(FORMAT, what, offset + at);
  const take = (): number => {
    const octet = block[at++];
    if (octet === undefined) throw damaged('ends in mid-sequence');
    return octet;
  };
  const long = (nibble: number): number => {
    let length = nibble;
    if (nibble < 15) return length;
    for (let octet = 255; octet === 255; length += octet) octet = take();
    return length;
  };
  for (;;) {
    const token = take();
    const literals = long(token >> 4);
    if (literals > block.length - at) throw damaged('literals that run past the end');
    if (literals > out.length - size) throw damaged('more content than a chunk has');
    out.set(block.subarray(at, at + literals), size);
    at += literals;
    size += literals;
    if (at === block.length) return size;
    if (size > out.length - MATCH_LIMIT || block.length - at < MIN_SEQUENCES) {
      throw damaged('a match at the end of a chunk');
    }
    const distance = take() | (take() << 8);
    if (distance === 0 || distance > size) throw damaged('a match from before the chunk');
    const length = long(token & 15) + MIN_MATCH;
    if (length > out.length - LAST_LITERALS - size) throw damaged('more content than a chunk has');
    const from = size - distance;
    if (distance >= length) out.copyWithin(size, from, from + length);
    else for (let i = 0; i < length; i++) out[size + i] = out[from + i] as number;
    size += length;
  }
}
