import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, stat } from 'node:fs/promises';
import { codeOf, IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY;

/**
 * A folder held by its descriptor. What is done through it is done in this very folder, whatever its name has come to
 * mean since: whoever swaps a folder for a link between two calls moves nothing of ours. Node has no openat(2);
 * Linux's `/proc/self/fd/N/NAME` is the same.
 */
export class HeldFolder {
  readonly #handle: FileHandle;
  /** Where it was found: for messages, and for nothing else. */
  readonly path: string;

  constructor(handle: FileHandle, path: string) {
    this.#handle = handle;
    this.path = path;
  }

  /** One of its entries, for calls that take a path. @param name without a slash. */
  at(name: string): string {
    return `/proc/self/fd/${this.#handle.fd}/${name}`;
  }

  /**
   * A folder in it that is no link. The caller closes both.
   *
   * @throws Refusal `unsafe-path` for a symbolic link; what the system says.
   */
  async folder(name: string): Promise<HeldFolder> {
    const path = `${this.path}/${name}`;
    try {
      return new HeldFolder(await open(this.at(name), FOLDER | constants.O_NOFOLLOW), path);
    } catch (error) {
      // Linux says ENOTDIR of a link too, and ENOTDIR alone would mean that nothing is there.
      if (!['ENOTDIR', 'ELOOP'].includes(codeOf(error) ?? '')) throw error;
      const found = await lstat(this.at(name));
      if (found.isSymbolicLink()) throw throughLink(path);
      if (found.isDirectory()) throw new Refusal('drifted', `${path} was no folder a moment ago.`, { path });
      throw error;
    }
  }

  names(): Promise<string[]> {
    return readdir(this.at('.'));
  }

  /** Makes its entries durable. */
  sync(): Promise<void> {
    return this.#handle.sync();
  }

  /** Never throws: nothing that was read or made durable before depends on it. */
  async close(): Promise<void> {
    await this.#handle.close().catch(() => {});
  }
}

function throughLink(path: string): Refusal {
  return new Refusal('unsafe-path', `${path} is a symbolic link, and nothing in a tree is reached by one.`, {
    path,
  });
}

/** Opens a folder by a name that the operator gave: links in that are the operator's own. */
export async function holdFolder(path: string): Promise<HeldFolder> {
  const handle = await open(path, FOLDER);
  try {
    await demandProc(handle.fd);
  } catch (error) {
    await handle.close().catch(() => {});
    throw error;
  }
  return new HeldFolder(handle, path);
}

/**
 * Opens a folder of a tree, each part of its path by itself and none of them a link: a tree is hostile input.
 *
 * @param folder relative to the tree, `/`-separated; empty or `.` for the tree itself.
 * @throws Refusal `unsafe-path`; what the system says.
 */
export async function holdBeneath(tree: string, folder: string): Promise<HeldFolder> {
  let held = await holdFolder(tree);
  for (const part of folder === '' || folder === '.' ? [] : folder.split('/')) {
    const outer = held;
    try {
      if (part === '' || part === '.' || part === '..')
        throw new Refusal('unsafe-path', `${JSON.stringify(folder)} is no path in a tree.`, { path: folder });
      held = await outer.folder(part);
    } finally {
      await outer.close();
    }
  }
  return held;
}

let hasProc = false;

/** Without /proc every file would look absent. */
async function demandProc(fd: number): Promise<void> {
  if (hasProc) return;
  const path = `/proc/self/fd/${fd}`;
  try {
    await stat(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new IoError('/proc is not mounted, and files are opened through it.', '/proc', 'ENOENT', {
      cause: error,
    });
  }
  hasProc = true;
}
