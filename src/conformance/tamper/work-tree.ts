import { constants } from 'node:fs';
import {
  copyFile,
  type FileHandle,
  mkdir,
  open,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openBeneath } from '../../files/beneath.ts';

/**
 * A copy of a tree that may be broken and put right again. It shares storage with the original where the file
 * system can (reflink), and nothing else: a hard link would change the original's ctime, and a server that
 * pinned the file would take that for drift.
 */
export class WorkTree {
  readonly folder: string;
  readonly #aside: string;
  /** What was changed, and where its original stands now; undefined: there was none. */
  readonly #changed = new Map<string, string | undefined>();

  /** @param aside a folder on the same file system, where originals wait. */
  constructor(folder: string, aside: string) {
    this.folder = folder;
    this.#aside = aside;
  }

  get changed(): ReadonlySet<string> {
    return new Set(this.#changed.keys());
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  read(name: string): Promise<Buffer> {
    return readFile(this.path(name));
  }

  async size(name: string): Promise<number> {
    return (await stat(this.path(name))).size;
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    await this.remove(name);
    await writeFile(this.path(name), bytes);
  }

  /** Puts a file of another tree in this one's place. */
  async take(name: string, source: string): Promise<void> {
    await this.remove(name);
    await copyFile(source, this.path(name), constants.COPYFILE_FICLONE);
  }

  async remove(name: string): Promise<void> {
    if (this.#changed.has(name)) return rm(this.path(name), { force: true });
    const original = join(this.#aside, String(this.#changed.size));
    const moved = await rename(this.path(name), original).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return false;
        throw error;
      },
    );
    this.#changed.set(name, moved ? original : undefined);
  }

  /** Changes a file of any size in its place. */
  async edit(name: string, change: (handle: FileHandle, size: number) => Promise<unknown>): Promise<void> {
    const size = await this.size(name);
    await this.remove(name);
    const original = this.#changed.get(name);
    if (original !== undefined) await copyFile(original, this.path(name), constants.COPYFILE_FICLONE);
    const handle = await open(this.path(name), 'r+');
    try {
      await change(handle, size);
    } finally {
      await handle.close();
    }
  }

  async restore(): Promise<void> {
    for (const [name, original] of this.#changed) {
      await rm(this.path(name), { force: true });
      if (original !== undefined) await rename(original, this.path(name));
    }
    this.#changed.clear();
  }
}

/** Copies files of a tree, reflinked where that is possible. No link in it is followed. */
export async function copyFiles(from: string, to: string, names: Iterable<string>): Promise<void> {
  for (const name of names) {
    await mkdir(dirname(join(to, name)), { recursive: true });
    const { handle } = await openBeneath(from, name);
    try {
      // By its descriptor: the name may mean another file by now, or one that never ends.
      await copyFile(`/proc/self/fd/${handle.fd}`, join(to, name), constants.COPYFILE_FICLONE);
    } finally {
      await handle.close();
    }
  }
}
