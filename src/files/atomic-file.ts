import { randomBytes } from 'node:crypto';
import { link, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf, IoError, inWords, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';

/** Names of unfinished files: whoever finds one after a crash may delete it. */
export const TEMPORARY = /^\.bootseal-[0-9a-f]{16}\.tmp$/;

export interface WriteOptions {
  /** Permission bits; 0644 unless told. */
  readonly mode?: number;
  /** Refuses to replace: the name must be new, also against a second writer at the same moment. */
  readonly exclusive?: boolean;
}

/**
 * Writes a file so that its name holds the old bytes or the new, never a part: temporary name, fsync, rename,
 * fsync of the directory. Nothing is left behind when it fails.
 */
export async function writeFileAtomically(
  path: string,
  bytes: Uint8Array,
  options: WriteOptions = {},
): Promise<void> {
  const directory = dirname(path);
  const temporary = join(directory, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  try {
    const handle = await open(temporary, 'wx', options.mode ?? 0o644);
    try {
      await handle.writeFile(bytes);
      // The process's umask may have taken bits away; a private key's mode must be exact.
      await handle.chmod(options.mode ?? 0o644);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (options.exclusive) {
      // link() fails where the name exists; rename() would replace it silently.
      await link(temporary, path);
      await rm(temporary);
    } else {
      await rename(temporary, path);
    }
  } catch (error) {
    throw explain(error, path, await isGone(temporary));
  }
  await syncDirectory(directory);
}

/** Takes away what was begun; true where nothing of it is left. Below a file (ENOTDIR) there never was anything. */
export async function isGone(draft: string): Promise<boolean> {
  return rm(draft, { recursive: true, force: true }).then(
    () => true,
    (error: unknown) => isAbsent(error),
  );
}

/** Removes what a crash left unfinished in a folder. Not while somebody else writes there. @throws IoError */
export async function removeTemporaries(directory: string): Promise<void> {
  try {
    for (const name of await readdir(directory)) {
      if (TEMPORARY.test(name)) await rm(join(directory, name), { recursive: true, force: true });
    }
  } catch (error) {
    throw explain(error, directory);
  }
}

/** Makes a directory's entries durable. @throws IoError */
export async function syncDirectory(directory: string): Promise<void> {
  try {
    const handle = await open(directory, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  } catch (error) {
    throw explain(error, directory);
  }
}

/**
 * What a failed write of `path` is, in words.
 *
 * @param clean that nothing of it was left behind is known, and said.
 */
export function explain(error: unknown, path: string, clean = false): Error {
  if (error instanceof Refusal || error instanceof IoError || error instanceof UsageError) return error;
  if (codeOf(error) === 'EEXIST') return new UsageError(`${path} exists already and is not replaced.`);
  return new IoError(
    `Cannot write ${path}: ${inWords(error)}${clean ? '; nothing was left behind' : ''}.`,
    path,
    codeOf(error),
    { cause: error },
  );
}
