import {
  type FileHandle,
  lstat,
  mkdtemp,
  open,
  readdir,
  realpath,
  rename,
  rm,
  stat,
  statfs,
  unlink,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cannotRead, IoError, isAbsent } from '../../errors/io.ts';
import { UsageError } from '../../errors/usage.ts';
import { explain } from '../../files/atomic-file.ts';
import { takeLock } from '../../files/lock.ts';
import { makeFolders } from '../../files/make-folders.ts';

/** Bytes that a disk keeps free for others. */
const MARGIN = 64 * 1024 * 1024;
const LOCK = 'lock';
const WHOLE = /^[0-9a-f]{64}$/;
/** What only the process that made it knows what to do with. */
const UNFINISHED = /^\.[0-9a-f]{64}-[0-9a-f]{16}$/;

/** Something that takes room, until it is given up. */
export interface Held {
  /** Bytes. */
  bytes: number;
  /** It is not given up while there are some. */
  users: number;
  /** Takes it off the disk. */
  drop: () => Promise<void>;
}

/**
 * A folder of this process alone, with a bound on what it holds. What was used least recently goes first, and nothing that is
 * in use. Whole files have their digest as name, and that is a claim like any other: who comes upon one that an earlier
 * process left reads and hashes it before any of it is used. What was unfinished then is removed.
 */
export class CacheFolder {
  readonly path: string;
  /** Bytes. */
  readonly most: number;
  readonly #end: () => Promise<void>;
  /** The least recently used first. */
  readonly #held = new Map<string, Held>();
  /** What is making an entry of the folder right now. */
  readonly #making = new Set<Promise<unknown>>();
  #ended = false;

  private constructor(path: string, most: number, end: () => Promise<void>) {
    this.path = path;
    this.most = most;
    this.#end = end;
  }

  /**
   * @param path made where it is not there; undefined: a temporary one that is removed at the end.
   * @param most bytes.
   * @throws UsageError where it is somebody else's, others may look into it, or it holds other things; IoError where it cannot
   *   be written, or another process has it.
   */
  static async open(path: string | undefined, most: number): Promise<CacheFolder> {
    if (path === undefined) {
      const made = await mkdtemp(join(tmpdir(), 'bootseal-cache-')).catch((error) => {
        throw explain(error, tmpdir());
      });
      return new CacheFolder(made, most, () => rm(made, { recursive: true, force: true }));
    }
    await makeFolders(path, 0o700);
    // The folder itself from here on: whoever owns a link on the way to it may point it elsewhere meanwhile.
    const own = await realpath(path).catch((error) => {
      throw cannotRead(path, error);
    });
    await demandOwn(own);
    await namesOf(own);
    const lock = await takeLock(join(own, LOCK), own);
    try {
      const folder = new CacheFolder(own, most, () => lock.release());
      // Read anew: the process that had it until now may have gone on.
      await folder.#sweep(await namesOf(own));
      return folder;
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Bytes that are taken, or promised to what is arriving. */
  get bytes(): number {
    let sum = 0;
    for (const { bytes } of this.#held.values()) sum += bytes;
    return sum;
  }

  get size(): number {
    return this.#held.size;
  }

  pathOf(name: string): string {
    return join(this.path, name);
  }

  get(name: string): Held | undefined {
    return this.#held.get(name);
  }

  /** Says that something was used just now. */
  touch(name: string): void {
    const held = this.#held.get(name);
    if (!held) return;
    this.#held.delete(name);
    this.#held.set(name, held);
  }

  /** Makes room, and takes it. @returns false, and nothing is taken, where there is none. */
  async take(name: string, bytes: number, held: Held): Promise<boolean> {
    // Taken at once: while the disk is asked, somebody else may ask for the same room.
    held.bytes += bytes;
    held.users += 1;
    if (!this.#held.has(name)) this.#held.set(name, held);
    try {
      if (await this.#fits(bytes)) return true;
    } catch (error) {
      this.#giveBack(name, held, bytes);
      throw error;
    } finally {
      held.users -= 1;
    }
    this.#giveBack(name, held, bytes);
    return false;
  }

  /** A new file, to read and to write. @throws IoError, also where there is one, and once the folder has ended. */
  create(name: string): Promise<FileHandle> {
    return this.#make(name, (path) => open(path, 'wx+', 0o600));
  }

  /** A file, and what was taken for it, goes on under another name. @throws as `create`. */
  async rename(from: string, to: string, drop: Held['drop']): Promise<void> {
    await this.#make(to, (path) => rename(this.pathOf(from), path));
    const held = this.#held.get(from);
    if (!held) return;
    this.#held.delete(from);
    this.#held.set(to, held);
    held.drop = drop;
  }

  /** Takes something off the disk, whoever uses it: what is open stays readable. */
  async drop(name: string): Promise<void> {
    const held = this.#held.get(name);
    if (!held) return;
    this.#held.delete(name);
    await held.drop();
  }

  /** From here on nothing comes into it: it may be gone, or another process's. */
  async end(): Promise<void> {
    this.#ended = true;
    await Promise.allSettled(this.#making);
    await this.#end();
  }

  async #make<T>(name: string, make: (path: string) => Promise<T>): Promise<T> {
    const path = this.pathOf(name);
    if (this.#ended) throw new IoError('The server is closing.', path, undefined);
    const making = make(path);
    this.#making.add(making);
    try {
      return await making;
    } catch (error) {
      throw explain(error, path);
    } finally {
      this.#making.delete(making);
    }
  }

  #giveBack(name: string, held: Held, bytes: number): void {
    held.bytes -= bytes;
    if (held.bytes === 0 && this.#held.get(name) === held) this.#held.delete(name);
  }

  /** Whether what was taken fits, once others have gone. */
  async #fits(bytes: number): Promise<boolean> {
    for (;;) {
      const { bavail, bsize } = await statfs(this.path);
      if (this.bytes <= this.most && bavail * bsize >= bytes + MARGIN) return true;
      const [oldest] = [...this.#held].find(([, { users }]) => users === 0) ?? [];
      if (oldest === undefined) return false;
      await this.drop(oldest);
    }
  }

  async #sweep(names: readonly string[]): Promise<void> {
    const left: { readonly name: string; readonly bytes: number; readonly used: number }[] = [];
    for (const name of names) {
      const path = this.pathOf(name);
      if (UNFINISHED.test(name)) await removeFile(path);
      if (!WHOLE.test(name)) continue;
      const { size, mtimeMs } = await lstat(path).catch((error) => {
        throw cannotRead(path, error);
      });
      left.push({ name, bytes: size, used: mtimeMs });
    }
    left.sort((one, other) => one.used - other.used);
    for (const { name, bytes } of left)
      this.#held.set(name, { bytes, users: 0, drop: () => removeFile(this.pathOf(name)) });
    while (this.bytes > this.most) {
      const [oldest] = this.#held.keys();
      if (oldest === undefined) break;
      await this.drop(oldest);
    }
  }
}

/** Takes a file away; whoever has it open reads on. */
export async function removeFile(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if (!isAbsent(error)) throw explain(error, path);
  }
}

async function demandOwn(path: string): Promise<void> {
  const { uid, mode } = await stat(path);
  if (uid !== process.geteuid?.())
    throw new UsageError(`${path} belongs to another user; name a cache of your own with --cache.`);
  if ((mode & 0o077) !== 0)
    throw new UsageError(`${path} is open to others; a cache has the mode 0700: "chmod 700 ${path}".`);
}

/** A folder that was meant for something else gets no file of ours, and loses none of its own. */
async function namesOf(path: string): Promise<readonly string[]> {
  const names = await readdir(path).catch((error) => {
    throw cannotRead(path, error);
  });
  const other = names.find((name) => name !== LOCK && !WHOLE.test(name) && !UNFINISHED.test(name));
  if (other === undefined) return names;
  throw new UsageError(`${path} is no cache: it holds ${other}; name a folder of its own with --cache.`);
}
