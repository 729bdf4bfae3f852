import { randomBytes } from 'node:crypto';
import { link, open, readdir, rename, rm, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { codeOf, IoError, inWords, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { type HeldFolder, holdFolder } from './held-folder.ts';

/** Names of unfinished files: whoever finds one after a crash may delete it. */
export const TEMPORARY = /^\.bootseal-[0-9a-f]{16}\.tmp$/;

/** A file's content, whole or piece by piece: what is thrown between pieces ends the writing, and nothing is left. */
export type Written = Uint8Array | AsyncIterable<Uint8Array>;

export interface WriteOptions {
  /** Permission bits; 0644 unless told. */
  readonly mode?: number;
  /** Refuses to replace: the name must be new, also against a second writer at the same moment. */
  readonly exclusive?: boolean;
  /** Whose it shall be; only root may give it away. Default: whoever writes it. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

/**
 * Writes a file so that its name holds the old bytes or the new, never a part: temporary name, fsync, rename,
 * fsync of the directory. Nothing is left behind when it fails. Links in the folder's name are followed: below a
 * tree that is `writeBeneath`'s to do.
 */
export async function writeFileAtomically(
  path: string,
  bytes: Written,
  options: WriteOptions = {},
): Promise<void> {
  const folder = await holdFolder(dirname(path)).catch((error: unknown) => {
    throw explain(error, path, true);
  });
  try {
    await writeInto(folder, basename(path), bytes, options, path);
  } finally {
    await folder.close();
  }
}

/**
 * The same, in a folder that is held.
 *
 * @param path for messages.
 */
export async function writeInto(
  folder: HeldFolder,
  name: string,
  bytes: Written,
  options: WriteOptions,
  path: string,
): Promise<void> {
  const temporary = folder.at(`.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  let begun = false;
  let placed = false;
  try {
    const handle = await open(temporary, 'wx', options.mode ?? 0o644);
    begun = true;
    try {
      if (bytes instanceof Uint8Array) await handle.writeFile(bytes);
      else for await (const piece of bytes) await handle.writeFile(piece);
      // The process's umask may have taken bits away; a private key's mode must be exact.
      await handle.chmod(options.mode ?? 0o644);
      if (options.owner) await handle.chown(options.owner.uid, options.owner.gid);
      await handle.sync();
    } finally {
      await handle.close();
    }
    if (options.exclusive) {
      // link() fails where the name exists; rename() would replace it silently.
      await link(temporary, folder.at(name));
      placed = true;
      await unlink(temporary);
    } else {
      await rename(temporary, folder.at(name));
      placed = true;
    }
    await folder.sync();
  } catch (error) {
    const gone = !begun || (await isUnlinked(temporary));
    throw explain(error, path, gone && !placed);
  }
}

/** True where the name is gone, or never was. */
async function isUnlinked(path: string): Promise<boolean> {
  return unlink(path).then(
    () => true,
    (error: unknown) => isAbsent(error),
  );
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
  // What whoever makes the content threw to end the writing is no fault of the disk.
  if (error instanceof Error && codeOf(error) === undefined) return error;
  if (codeOf(error) === 'EEXIST') return new UsageError(`${path} exists already and is not replaced.`);
  return new IoError(
    `Cannot write ${path}: ${inWords(error)}${clean ? '; nothing of it was left behind' : ''}.`,
    path,
    codeOf(error),
    { cause: error },
  );
}
