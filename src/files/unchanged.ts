import type { FileHandle } from 'node:fs/promises';
import { demandSameFile, type FileIdentity, identityOf, onlyRelinked } from './file-identity.ts';

/** An open file, and what it was when it was opened. */
export interface OpenedFile {
  readonly handle: FileHandle;
  readonly identity: FileIdentity;
}

/** How often a file is read because somebody goes on linking it. */
const TRIES = 5;

/**
 * Reads an open file that must not change meanwhile. Where nothing but its links changed, it is read once more: a publisher links
 * an object into one release while a server reads it in another. Content that was changed with its times put back looks the
 * same from outside, so what was read before counts for nothing.
 *
 * @param what names it in refusals.
 * @param read reads from the file's beginning, whatever was read before.
 * @returns what was read, and what the file was from before that until after it.
 * @throws Refusal `drifted`; what `read` and the system say.
 */
export async function readUnchanged<T>(
  { handle, identity }: OpenedFile,
  what: string,
  read: () => Promise<T>,
): Promise<{ readonly value: T; readonly identity: FileIdentity }> {
  for (let before = identity, tries = 1; ; tries += 1) {
    const value = await read();
    const stat = await handle.stat({ bigint: true });
    const now = identityOf(stat);
    // Without a link it is in no place any more: another file is there, or none.
    if (tries === TRIES || stat.nlink === 0n || !onlyRelinked(before, now)) {
      demandSameFile(what, before, now);
      return { value, identity: before };
    }
    before = now;
  }
}
