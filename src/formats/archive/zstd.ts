import { Malformed } from '../../errors/malformed.ts';
import { Xxh64 } from './xxh64.ts';
import { type BlockState, decodeBlock } from './zstd-block.ts';

/**
 * One Zstandard frame (RFC 8878 §3.1.1), strictly and in bounded memory.
 *
 * Written here because what npm offers for Node 20 neither checks how far back a match reaches nor the
 * content checksum, and loops for ever over a Huffman table whose codes consume no bits: a boot file
 * from a hostile LAN must not stop a verifier.
 */

const FORMAT = 'zstd';
const BLOCK_LIMIT = 128 * 1024;
/** What the kernel's own decoder of initramfs archives takes (lib/decompress_unzstd.c). */
export const ZSTD_WINDOW_LIMIT = 2 ** 27;

interface FrameHeader {
  /** Bytes that a match may reach back. */
  readonly window: number;
  /** Bytes of content, where the frame says so. */
  readonly contentSize: number | undefined;
  readonly checksummed: boolean;
  /** Bytes of the header, its magic included. */
  readonly length: number;
}

function littleEndian(bytes: Uint8Array, at: number, length: number): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i--) {
    const octet = bytes[at + i];
    if (octet === undefined) throw new Malformed(FORMAT, 'ends early', bytes.length);
    value = value * 256 + octet;
  }
  return value;
}

function frameHeader(bytes: Uint8Array, start: number): FrameHeader {
  const magic = littleEndian(bytes, start, 4);
  if (magic >= 0x184d2a50 && magic <= 0x184d2a5f) {
    throw new Malformed(FORMAT, 'skippable frame, which the kernel takes for junk', start);
  }
  if (magic !== 0xfd2fb528) throw new Malformed(FORMAT, 'no frame magic', start);
  const descriptor = littleEndian(bytes, start + 4, 1);
  if (descriptor & 0x08) throw new Malformed(FORMAT, 'reserved bit set', start + 4);
  let at = start + 5;
  const take = (length: number): number => {
    const value = littleEndian(bytes, at, length);
    at += length;
    return value;
  };
  const singleSegment = (descriptor & 0x20) !== 0;
  let window = 0;
  if (!singleSegment) {
    const code = take(1);
    const base = 2 ** (10 + (code >> 3));
    window = base + (base / 8) * (code & 7);
  }
  if (take([0, 1, 2, 4][descriptor & 3] ?? 0) !== 0) throw new Malformed(FORMAT, 'needs a dictionary', start);
  const sizeFlag = descriptor >> 6;
  const sizeOctets = sizeFlag === 0 ? (singleSegment ? 1 : 0) : 2 ** sizeFlag;
  let contentSize: number | undefined;
  if (sizeOctets > 0) {
    contentSize = take(sizeOctets) + (sizeOctets === 2 ? 256 : 0);
    if (singleSegment) window = contentSize;
  }
  if (window > ZSTD_WINDOW_LIMIT) {
    throw new Malformed(FORMAT, `window of ${window} bytes, more than the kernel takes`, start);
  }
  return { window, contentSize, checksummed: (descriptor & 0x04) !== 0, length: at - start };
}

/** Makes room for one more block behind `state.end`; drops what lies further back than the window. */
function makeRoom(state: BlockState, window: number, block: number): void {
  if (state.end + block <= state.history.length) return;
  const slack = Math.max(8 * BLOCK_LIMIT, window / 4);
  const wanted = Math.min(window + slack, Math.max(state.history.length * 2, 8 * BLOCK_LIMIT));
  if (wanted > state.history.length) {
    const larger = new Uint8Array(wanted);
    larger.set(state.history.subarray(0, state.end));
    state.history = larger;
    if (state.end + block <= wanted) return;
  }
  state.history.copyWithin(0, state.end - window, state.end);
  state.end = window;
}

/**
 * Yields the content of the frame that begins at `start`, in pieces of at most 128 KiB which are the
 * caller's own; returns the offset behind the frame. Memory: the window and a quarter, at most 160 MiB.
 * A content checksum is checked, so nothing yielded counts before the generator has returned. Throws
 * `Malformed`.
 */
export function* decodeZstdFrame(bytes: Uint8Array, start = 0): Generator<Uint8Array, number> {
  const header = frameHeader(bytes, start);
  const blockLimit = Math.min(header.window, BLOCK_LIMIT);
  const state: BlockState = {
    history: new Uint8Array(0),
    end: 0,
    huffman: undefined,
    tables: [undefined, undefined, undefined],
    offsets: [1, 4, 8],
  };
  const checksum = new Xxh64();
  let total = 0;
  let at = start + header.length;
  for (let last = false; !last; ) {
    const word = littleEndian(bytes, at, 3);
    at += 3;
    last = (word & 1) !== 0;
    const type = (word >> 1) & 3;
    const size = word >> 3;
    if (type === 3) throw new Malformed(FORMAT, 'reserved block type', at - 3);
    if (size > blockLimit) throw new Malformed(FORMAT, 'block larger than allowed', at - 3);
    const length = type === 1 ? 1 : size;
    if (length > bytes.length - at) throw new Malformed(FORMAT, 'ends early', bytes.length);
    const block = bytes.subarray(at, at + length);
    at += length;

    makeRoom(state, header.window, blockLimit);
    const before = state.end;
    if (type === 2) {
      decodeBlock(block, state, blockLimit, header.window);
    } else {
      if (type === 0) state.history.set(block, before);
      else state.history.fill(block[0] ?? 0, before, before + size);
      state.end += size;
    }
    const piece = state.history.slice(before, state.end);
    total += piece.length;
    if (header.contentSize !== undefined && total > header.contentSize) {
      throw new Malformed(FORMAT, 'more content than the frame says', at);
    }
    if (header.checksummed) checksum.update(piece);
    if (piece.length > 0) yield piece;
  }
  if (header.contentSize !== undefined && total !== header.contentSize) {
    throw new Malformed(FORMAT, 'less content than the frame says', at);
  }
  if (header.checksummed) {
    if (littleEndian(bytes, at, 4) !== checksum.digest()[1]) {
      throw new Malformed(FORMAT, 'content checksum does not match', at);
    }
    at += 4;
  }
  return at;
}
