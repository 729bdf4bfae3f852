import type { Dirent, Stats } from 'node:fs';
import { lstat, readdir, readFile, stat } from 'node:fs/promises';
import { cannotRead, isAbsent } from '../errors/io.ts';

/*
 * Reading what may not be there. Each answers "nothing" only where the name does not exist; a file that is there and
 * cannot be read is an `IoError` that ends the act. A state whose current snapshot counts as absent because of one
 * EMFILE would be published over.
 */

/** The content of a file; undefined where there is none. @throws IoError */
export function readIfThere(path: string): Promise<Buffer | undefined> {
  return ifThere(path, () => readFile(path));
}

/** Names in a folder, sorted; none where there is no folder. @throws IoError */
export async function namesIfThere(path: string): Promise<readonly string[]> {
  return ((await ifThere(path, () => readdir(path))) ?? []).sort();
}

/** Entries of a folder with their kinds; none where there is no folder. @throws IoError */
export async function entriesIfThere(path: string): Promise<readonly Dirent[]> {
  return (await ifThere(path, () => readdir(path, { withFileTypes: true }))) ?? [];
}

/** What stands at a path, links followed; undefined where nothing does. @throws IoError */
export function statIfThere(path: string): Promise<Stats | undefined> {
  return ifThere(path, () => stat(path));
}

/** What stands at a path, a link itself; undefined where nothing does. @throws IoError */
export function lstatIfThere(path: string): Promise<Stats | undefined> {
  return ifThere(path, () => lstat(path));
}

/** Whether something stands at a path, links followed. @throws IoError where that cannot be told. */
export async function isThere(path: string): Promise<boolean> {
  return (await statIfThere(path)) !== undefined;
}

async function ifThere<T>(path: string, read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw cannotRead(path, error);
  }
}
