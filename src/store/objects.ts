/** The key of the content with a digest, in every state. @param sha256 lower-case hex. */
export function objectKey(sha256: string): string {
  return `objects/sha256/${sha256.slice(0, 2)}/${sha256.slice(2)}`;
}

const DAY = 86_400_000;
/**
 * Milliseconds. An object that nothing refers to, and older than this, is written again by whoever wants it: seven days
 * after it was marked a collector deletes it (collect.ts), and a bucket has no lock that would keep the two apart.
 */
export const REWRITE_AFTER = 6 * DAY;
