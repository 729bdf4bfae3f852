import { inflateSync } from 'node:zlib';
import { Malformed } from '../../errors/malformed.ts';
import { openStream } from '../../formats/archive/decompress.ts';
import type { SquashfsCompressor } from '../../formats/archive/squashfs.ts';

/** Compressors whose blocks are unpacked here: what mksquashfs calls gzip is a zlib stream (RFC 1950). */
export type KnownCompressor = Extract<SquashfsCompressor, 'gzip' | 'xz' | 'zstd'>;

export function isKnownCompressor(compressor: SquashfsCompressor): compressor is KnownCompressor {
  return compressor === 'gzip' || compressor === 'xz' || compressor === 'zstd';
}

/**
 * Unpacks one stored block.
 *
 * @param limit most bytes of content.
 * @throws Malformed
 */
export async function unpackBlock(
  compressor: KnownCompressor,
  stored: Uint8Array,
  limit: number,
): Promise<Uint8Array> {
  if (compressor === 'gzip') return inflated(stored, limit);
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of openStream(compressor, stored, 0).content) {
    size += piece.length;
    if (size > limit) throw tooLong(limit);
    // A piece is a view of memory that the decoder may use again.
    pieces.push(Uint8Array.from(piece));
  }
  return Buffer.concat(pieces);
}

function inflated(stored: Uint8Array, limit: number): Uint8Array {
  try {
    return inflateSync(stored, { maxOutputLength: limit });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE') throw tooLong(limit);
    if (code?.startsWith('Z_')) throw new Malformed('zlib', message);
    throw error;
  }
}

function tooLong(limit: number): Malformed {
  return new Malformed('squashfs', `a block of more than ${limit} bytes`);
}
