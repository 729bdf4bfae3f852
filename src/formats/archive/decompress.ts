import { crc32, createInflateRaw } from 'node:zlib';
import { Malformed } from '../../errors/malformed.ts';
import { decodeBzip2 } from './bzip2.ts';
import { decodeLz4Legacy, LZ4_LEGACY_MAGIC } from './lz4.ts';
import { decodeLzma } from './lzma.ts';
import { decodeLzo, LZOP_MAGIC } from './lzo.ts';
import { decodeZstdFrame } from './zstd.ts';

/**
 * What the kernel unpacks an initramfs with (lib/decompress.c): the format is told by its first bytes, one
 * stream is read, and reading goes on behind its end. Here each stream says where it ended, and its
 * content comes in pieces of at most 128 KiB, so that whoever reads can stop a bomb at any of them.
 */

export type Compression = 'gzip' | 'xz' | 'zstd' | 'lz4' | 'lzma' | 'lzo' | 'bzip2';

/** First bytes, and whether it is decoded here. The kernel knows all but the last. */
const MAGIC: readonly (readonly [
  name: string,
  magic: readonly number[],
  decoded: Compression | undefined,
])[] = [
  ['gzip', [0x1f, 0x8b], 'gzip'],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], 'xz'],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd], 'zstd'],
  ['lz4', LZ4_LEGACY_MAGIC, 'lz4'],
  ['lzma', [0x5d, 0x00], 'lzma'],
  ['bzip2', [0x42, 0x5a, 0x68], 'bzip2'],
  ['lzo', LZOP_MAGIC.slice(0, 4), 'lzo'],
  ['lz4 frames, which the kernel does not take either', [0x04, 0x22, 0x4d, 0x18], undefined],
];

/** What begins at `at`: a name, and how to decode it where that is possible. Undefined: nothing known. */
export function detectCompression(
  bytes: Uint8Array,
  at = 0,
): { name: string; decoded: Compression | undefined } | undefined {
  for (const [name, magic, decoded] of MAGIC) {
    if (magic.every((octet, index) => bytes[at + index] === octet)) return { name, decoded };
  }
  // Sixteen magics, all of them junk to the kernel; pzstd begins its files with one.
  if (((bytes[at] ?? 0) & 0xf0) === 0x50 && [0x2a, 0x4d, 0x18].every((o, i) => bytes[at + 1 + i] === o)) {
    return { name: 'skippable zstd frames, which the kernel does not take either', decoded: undefined };
  }
  return undefined;
}

export interface Stream {
  /** The content. Throws `Malformed`; nothing counts before it has ended without. */
  readonly content: AsyncIterable<Uint8Array>;
  /** Offset behind the stream. Valid once `content` has ended. */
  end(): number;
}

/** Opens the one stream that begins at `start`. What follows it is not looked at. */
export function openStream(compression: Compression, bytes: Uint8Array, start: number): Stream {
  let end: number | undefined;
  const decoders = {
    gzip: gzipMember,
    xz: xzStream,
    zstd: zstdFrame,
    lz4: lz4Stream,
    lzma: lzmaStream,
    lzo: lzoStream,
    bzip2: bzip2Stream,
  };
  const pieces = decoders[compression](bytes, start);
  return {
    content: (async function* () {
      end = yield* pieces;
    })(),
    end: () => {
      if (end === undefined) throw new Error('the stream has not ended');
      return end;
    },
  };
}

type Pieces = AsyncGenerator<Uint8Array, number>;

async function* zstdFrame(bytes: Uint8Array, start: number): Pieces {
  return yield* decodeZstdFrame(bytes, start);
}

async function* lz4Stream(bytes: Uint8Array, start: number): Pieces {
  return yield* decodeLz4Legacy(bytes, start);
}

async function* lzmaStream(bytes: Uint8Array, start: number): Pieces {
  return yield* decodeLzma(bytes, start);
}

async function* lzoStream(bytes: Uint8Array, start: number): Pieces {
  return yield* decodeLzo(bytes, start);
}

async function* bzip2Stream(bytes: Uint8Array, start: number): Pieces {
  return yield* decodeBzip2(bytes, start);
}

/** The check that an xz stream says it carries (tukaani.org, xz-file-format §2.1.1.2). */
export function xzCheckName(bytes: Uint8Array, start: number): string {
  const id = (bytes[start + 7] ?? 0) & 0x0f;
  return { 0: 'none', 1: 'CRC32', 4: 'CRC64', 10: 'SHA-256' }[id] ?? `check ${id}`;
}

/** Bytes of a gzip member's header (RFC 1952 §2.3). */
function gzipHeader(bytes: Uint8Array, start: number): number {
  if (bytes[start + 2] !== 8) throw new Malformed('gzip', 'not deflate', start);
  const flags = bytes[start + 3] ?? 0xff;
  // The kernel skips a file name and knows of no other field: it would read them as data.
  if (flags & ~0x09) throw new Malformed('gzip', 'header fields that the kernel does not know', start);
  let end = start + 10;
  if (flags & 0x08) end = bytes.indexOf(0, end) + 1;
  if (end <= start) throw new Malformed('gzip', 'file name without end', start);
  return end;
}

async function* gzipMember(bytes: Uint8Array, start: number): Pieces {
  const bodyStart = gzipHeader(bytes, start);
  const inflate = createInflateRaw({ chunkSize: 128 * 1024 });
  let crc = 0;
  let size = 0;
  try {
    inflate.end(bytes.subarray(bodyStart));
    for await (const piece of inflate as AsyncIterable<Uint8Array>) {
      crc = crc32(piece, crc);
      size = (size + piece.length) % 2 ** 32;
      yield piece;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code?.startsWith('Z_') !== true) throw error;
    throw new Malformed('gzip', (error as Error).message, start);
  } finally {
    inflate.destroy();
  }
  // Despite its name this counts what the engine took, so it ends where the deflate data do.
  return gzipTrailer(bytes, bodyStart + inflate.bytesWritten, crc, size);
}

/** CRC and size. The kernel steps over them unread; damage shows nowhere else. */
function gzipTrailer(bytes: Uint8Array, at: number, crc: number, size: number): number {
  if (at + 8 > bytes.length) throw new Malformed('gzip', 'ends early', at);
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, 8);
  if (view.getUint32(0, true) !== crc) throw new Malformed('gzip', 'CRC does not match', at);
  if (view.getUint32(4, true) !== size) throw new Malformed('gzip', 'size does not match', at);
  return at + 8;
}

/** Where the one xz stream that begins at `start` ends, told by index and footer (xz-file-format §2.1.2, §4). */
function xzEnd(bytes: Uint8Array, start: number): number {
  const haystack = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let effort = 0;
  for (let from = start; ; ) {
    const found = haystack.indexOf('YZ', from, 'latin1');
    if (found < 0) throw new Malformed('xz', 'no end of the stream', start);
    const indexSize = xzIndexSize(haystack, start, found + 2);
    // A thousand footers that each claim the whole file as index would take hours to check.
    effort += indexSize ?? 0;
    if (effort > 2 * bytes.length) throw new Malformed('xz', 'too many ends', start);
    if (indexSize !== undefined && isXzEnd(haystack, start, found + 2, indexSize)) return found + 2;
    from = found + 1;
  }
}

/** Bytes of the index that a footer before `end` speaks of; undefined where no footer of this stream is. */
function xzIndexSize(bytes: Buffer, start: number, end: number): number | undefined {
  if (end - start < 32 || (end - start) % 4 !== 0) return undefined;
  const footer = bytes.subarray(end - 12, end);
  if (footer[8] !== bytes[start + 6] || footer[9] !== bytes[start + 7]) return undefined;
  if (footer.readUInt32LE(0) !== crc32(footer.subarray(4, 10))) return undefined;
  const size = (footer.readUInt32LE(4) + 1) * 4;
  return size <= end - start - 24 && bytes[end - 12 - size] === 0 ? size : undefined;
}

/**
 * Whether the index before `end` speaks of a stream that begins at `start`. A compressed file inside the
 * initramfs has index and footer too, with the same flags, but its sizes lead elsewhere. Whoever crafts
 * sizes that fit has cut his own stream short, and the decoder says so.
 */
function isXzEnd(bytes: Buffer, start: number, end: number, indexSize: number): boolean {
  const index = bytes.subarray(end - 12 - indexSize, end - 12);
  const body = index.subarray(0, -4);
  if (index.readUInt32LE(indexSize - 4) !== crc32(body)) return false;
  return xzBlockOctets(body) === end - start - 24 - indexSize;
}

/** Bytes of all blocks that an index lists. */
function xzBlockOctets(index: Uint8Array): number {
  let at = 1;
  const integer = (): number => {
    let value = 0;
    for (let scale = 1; scale < 2 ** 53; scale *= 128) {
      const octet = index[at++] ?? 0;
      value += (octet & 0x7f) * scale;
      if (octet < 0x80) return value;
    }
    return Number.NaN;
  };
  let octets = 0;
  for (let records = integer(); records > 0 && at < index.length; records--) {
    octets += Math.ceil(integer() / 4) * 4;
    integer();
  }
  return octets;
}

const XZ_PIECE = 256 * 1024;
/** What the decoder answers, by the numbers of xz-embedded's `enum xz_ret`. */
const XZ_FAULTS: Readonly<Record<string, string>> = {
  2: 'a check that cannot be verified here',
  3: 'a dictionary larger than the memory',
  4: 'a dictionary larger than the memory',
  6: 'a filter or an option that cannot be decoded here',
  7: 'damaged',
  8: 'ends early',
};

async function* xzStream(bytes: Uint8Array, start: number): Pieces {
  // Its WebAssembly is loaded for who has such a stream.
  const { default: xz } = await import('xz-decompress');
  // The decoder reads several streams as one and does not say where it stopped: it is shown just this one.
  const end = xzEnd(bytes, start);
  let at = start;
  const input = new ReadableStream<Uint8Array>(
    {
      pull: (controller) => {
        if (at === end) controller.close();
        else controller.enqueue(bytes.subarray(at, Math.min(at + XZ_PIECE, end)));
        at = Math.min(at + XZ_PIECE, end);
      },
    },
    { highWaterMark: 0 },
  );
  try {
    for await (const piece of new xz.XzReadableStream(input)) if (piece.length > 0) yield piece;
  } catch (error) {
    const code = /error code (\d+)/.exec((error as Error).message)?.[1] ?? '';
    throw new Malformed('xz', XZ_FAULTS[code] ?? 'not as the format wants it', start);
  }
  return end;
}
