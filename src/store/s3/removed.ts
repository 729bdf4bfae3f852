import { createHash } from 'node:crypto';

/*
 * What stands under a key that was taken away on a condition. S3 deletes without asking: between the swap and a DELETE
 * somebody else's record may come, and the DELETE would take that. So the swap is all that is done. The mark stays, is read
 * as absent everywhere, and the next record replaces it by compare-and-swap.
 */

/** No record begins like it. */
const REMOVED = Buffer.from('bootseal: nothing is here any more\n');
const ETAG = createHash('md5').update(REMOVED).digest('hex');

export function removedMark(): Uint8Array {
  return Uint8Array.from(REMOVED);
}

export const REMOVED_SIZE = REMOVED.length;

export function isRemovedMark(bytes: Uint8Array): boolean {
  return bytes.length === REMOVED.length && Buffer.compare(bytes, REMOVED) === 0;
}

/**
 * By what a list says of a key. Most engines call content written at once by its MD5; where one encrypts, ETags are others,
 * and the content must be looked at.
 *
 * @returns undefined where only the content tells.
 */
export function isRemovedByList(size: number | undefined, etag: string | undefined): boolean | undefined {
  if (size !== REMOVED.length) return false;
  return etag?.replaceAll('"', '') === ETAG ? true : undefined;
}
