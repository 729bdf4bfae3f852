import { constants, gunzipSync } from 'node:zlib';

/** Bytes that come out at most. */
const MOST = 1024 * 1024;
/** Deflate makes at most 1032 bytes of one: so many of them never exceed `MOST`. */
const FEW = 1000;

/**
 * What the beginning of a gzip stream unpacks to: at most 1 MiB, from however little of the stream is at hand. Empty where
 * it is none.
 */
export function gzipBeginning(bytes: Uint8Array): Uint8Array {
  return unpacked(bytes) ?? unpacked(bytes.subarray(0, FEW)) ?? new Uint8Array();
}

function unpacked(bytes: Uint8Array): Uint8Array | undefined {
  try {
    return gunzipSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: MOST });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE' || code?.startsWith('Z_')) return undefined;
    throw error;
  }
}
