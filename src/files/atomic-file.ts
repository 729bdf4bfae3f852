import { randomBytes } from 'node:crypto';
import { link, open, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';

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
    // Its own failure says no more than the first one; below a file (ENOTDIR) even `force` fails.
    await rm(temporary, { force: true }).catch(() => {});
    throw explain(error, path);
  }
  await syncDirectory(directory);
}

/** Removes what a crash left unfinished in a folder. Not while somebody else writes there. */
export async function removeTemporaries(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (TEMPORARY.test(name)) await rm(join(directory, name), { recursive: true, force: true });
  }
}

/** Makes a directory's entries durable. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A file could not be written: the disk or its permissions, not the user's input. */
export class WriteError extends Error {
  readonly path: string;

  constructor(path: string, why: string, options: ErrorOptions) {
    super(`Cannot write ${path}: ${why}; nothing was left behind.`, options);
    this.name = 'WriteError';
    this.path = path;
  }
}

const WHY: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EROFS: 'the file system is read-only',
  EACCES: 'permission is denied',
  EPERM: 'permission is denied',
  ENOENT: 'its folder does not exist',
  ENOTDIR: 'part of its path is not a folder',
  EFBIG: 'the file would be larger than is allowed',
};

/** What a failed write of `path` is, in words. */
export function explain(error: unknown, path: string): Error {
  if (error instanceof Refusal) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'EEXIST')
    return new Refusal('unsafe-path', `${path} exists already and is not replaced.`, { path });
  return new WriteError(path, WHY[code ?? ''] ?? `${basename(path)}: ${message}`, { cause: error });
}
