import type { Dirent, Stats } from 'node:fs';
import { lstat, readdir, readlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { explain, TEMPORARY, type WriteOptions, type Written, writeInto } from './atomic-file.ts';
import type { FileIdentity } from './file-identity.ts';
import { type HeldFolder, holdBeneath } from './held-folder.ts';
import { type MeasuredFile, type MeasureOptions, measureOpened, openRegular } from './measure.ts';
import type { Question } from './measurer.ts';
import { readInto, reading } from './reading.ts';
import { type OpenedFile, readUnchanged } from './unchanged.ts';

/*
 * Files of a tree, by their path in it. A tree is hostile: its author may have put a link in the place of any folder
 * or file, and may do so between two calls. So every part of a path is opened by itself, by the descriptor of the
 * part before, and none is followed. Each function throws a `Refusal` `unsafe-path` for a link, and `absent` for what
 * is not there; an `IoError` for everything that the system says.
 */

/** Opens a regular file for reading. The caller closes it. */
export function openBeneath(tree: string, path: string): Promise<OpenedFile> {
  return inFolderOf(tree, path, (folder, name) => openRegular(folder.at(name), join(tree, path)));
}

/** Reads a regular file once and answers every question about it. `drifted` where it changes meanwhile. */
export async function measureBeneath(
  tree: string,
  path: string,
  questions: readonly Question[],
  options: MeasureOptions = {},
): Promise<MeasuredFile> {
  return measureOpened(await openBeneath(tree, path), join(tree, path), questions, options);
}

/**
 * Reads a regular file whole, from one descriptor.
 *
 * @param limit bytes; a longer one is a refusal `too-large`, and nothing of it is read.
 */
export async function readBeneath(
  tree: string,
  path: string,
  limit: number,
): Promise<{ bytes: Uint8Array; identity: FileIdentity }> {
  const name = join(tree, path);
  const opened = await openBeneath(tree, path);
  const { handle, identity } = opened;
  return reading(name, handle, async () => {
    if (identity.size > BigInt(limit)) {
      throw new Refusal('too-large', `${name} has ${identity.size} bytes, and ${limit} are allowed.`, {
        path,
        limit,
      });
    }
    const bytes = Buffer.alloc(Number(identity.size));
    const read = await readUnchanged(opened, name, () => readInto(handle, bytes, 0));
    return { bytes: bytes.subarray(0, read.value), identity: read.identity };
  });
}

/** The same; undefined where there is none. */
export async function readBeneathIfThere(
  tree: string,
  path: string,
  limit: number,
): Promise<Uint8Array | undefined> {
  try {
    return (await readBeneath(tree, path, limit)).bytes;
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  }
}

/** What stands at a path of a tree, a link itself; undefined where nothing does. */
export async function lstatBeneath(tree: string, path: string): Promise<Stats | undefined> {
  try {
    return await inFolderOf(tree, path, (folder, name) => lstat(folder.at(name)));
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  }
}

/** What a link of a tree says; nothing is followed. */
export function readlinkBeneath(tree: string, path: string): Promise<string> {
  return inFolderOf(tree, path, (folder, name) => readlink(folder.at(name)));
}

/** Names in a folder of a tree, sorted; none where there is no such folder. @param folder empty: the tree itself. */
export async function namesBeneath(tree: string, folder: string): Promise<string[]> {
  return (await entriesBeneath(tree, folder)).map(({ name }) => name).sort();
}

/** The same with what each entry is, links not followed. */
export async function entriesBeneath(tree: string, folder: string): Promise<Dirent[]> {
  try {
    return await reading(join(tree, folder), undefined, () =>
      holding(tree, folder, (held) => readdir(held.at('.'), { withFileTypes: true })),
    );
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return [];
    throw error;
  }
}

/**
 * Writes a file of a tree: its name holds the old bytes or the new, never a part, and nothing is left behind when it
 * fails. The folder must be there.
 */
export async function writeBeneath(
  tree: string,
  path: string,
  bytes: Written,
  options: WriteOptions = {},
): Promise<void> {
  const shown = join(tree, path);
  const [folder, name] = split(path);
  try {
    await holding(tree, folder, (held) => writeInto(held, name, bytes, options, shown));
  } catch (error) {
    // writeInto explains itself: what is left is of the way there, where nothing was begun.
    throw explain(error, shown, true);
  }
}

/**
 * Removes what a crash left unfinished in a folder of a tree: files alone, since that is all that is ever begun there.
 * Not while somebody else writes there.
 */
export async function removeTemporariesBeneath(tree: string, folder: string): Promise<void> {
  await reading(join(tree, folder), undefined, () =>
    holding(tree, folder, async (held) => {
      for (const name of (await held.names()).filter((one) => TEMPORARY.test(one))) {
        if (!(await lstat(held.at(name))).isDirectory()) await unlink(held.at(name)).catch(unlessGone);
      }
    }),
  );
}

function unlessGone(error: unknown): void {
  if (!isAbsent(error)) throw error;
}

async function inFolderOf<T>(
  tree: string,
  path: string,
  work: (folder: HeldFolder, name: string) => Promise<T>,
): Promise<T> {
  const [folder, name] = split(path);
  return reading(join(tree, path), undefined, () => holding(tree, folder, (held) => work(held, name)));
}

async function holding<T>(tree: string, folder: string, work: (held: HeldFolder) => Promise<T>): Promise<T> {
  const held = await holdBeneath(tree, folder);
  try {
    return await work(held);
  } finally {
    await held.close();
  }
}

function split(path: string): [folder: string, name: string] {
  const at = path.lastIndexOf('/');
  const name = path.slice(at + 1);
  if (name !== '' && name !== '.' && name !== '..') return [path.slice(0, Math.max(at, 0)), name];
  throw new Refusal('unsafe-path', `${JSON.stringify(path)} is no path in a tree.`, { path });
}
