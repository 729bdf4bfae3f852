import { Malformed } from '../../errors/malformed.ts';
import { decodeBareLzma, type LzmaProperties } from '../archive/lzma.ts';

/** How iPXE packs its code (`src/util/zbin.c`), and how GRUB packs a core image for a BIOS (`util/mkimage.c`). */
const WAYS: readonly LzmaProperties[] = [
  { literalBits: 2, literalPositions: 0, positionBits: 0 },
  { literalBits: 3, literalPositions: 0, positionBits: 2 },
];

/** What unpacks stands before it, and is a few KiB. */
const SEARCHED = 16 * 1024;
/** Anything that is no stream breaks long before; a loader for a BIOS has some hundreds of KiB. */
const LEAST = 32 * 1024;
/** Code packs to a third of itself, about. */
const MOST_TIMES = 8;
const MOST = 4 * 1024 * 1024;
/** Bounds the work that a file can cause: each zero begins a stream, perhaps. */
const MOST_TRIED = 4096;
const MOST_UNPACKED = 8;
/** What the right one holds somewhere: noise, too, can go on for long. */
const MARKS = ['mimg', 'iPXE'];

/**
 * The code of a loader for a BIOS, unpacked: such a loader is a small program that unpacks the rest of itself, and says
 * nowhere where that begins. Undefined where nothing in it can be unpacked.
 */
export function packedCode(bytes: Uint8Array): Uint8Array | undefined {
  let tried = 0;
  let unpacked = 0;
  for (let at = 0; at < Math.min(SEARCHED, bytes.length); at += 1) {
    // Every stream begins with a zero.
    if (bytes[at] !== 0 || bytes[at + 1] === 0) continue;
    for (const way of WAYS) {
      if (tried === MOST_TRIED || unpacked === MOST_UNPACKED) return undefined;
      tried += 1;
      if (!isLikeCode(decoded(bytes.subarray(at, at + LEAST), way, LEAST))) continue;
      unpacked += 1;
      const limit = Math.min(MOST, MOST_TIMES * bytes.length);
      const code = Buffer.from(decoded(bytes.subarray(at, at + limit), way, limit));
      if (MARKS.some((mark) => code.includes(mark))) return code;
    }
  }
  return undefined;
}

function decoded(bytes: Uint8Array, way: LzmaProperties, limit: number): Uint8Array {
  try {
    return decodeBareLzma(bytes, 0, way, limit);
  } catch (error) {
    if (error instanceof Malformed) return new Uint8Array();
    throw error;
  }
}

/** Noise is short, or the same few bytes again and again. */
function isLikeCode(beginning: Uint8Array): boolean {
  if (beginning.length < LEAST) return false;
  const counts = new Uint32Array(256);
  for (const octet of beginning) counts[octet] = (counts[octet] ?? 0) + 1;
  return counts.every((count) => count < LEAST / 2) && counts.filter((count) => count > 0).length > 192;
}
