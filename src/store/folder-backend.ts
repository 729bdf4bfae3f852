import { createHash, randomBytes } from 'node:crypto';
import { constants, lstatSync } from 'node:fs';
import { copyFile, link, lstat, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cannotRead, codeOf, IoError, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { explain, isGone, removeTemporaries } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { measureFile } from '../files/measure.ts';
import { entriesIfThere, lstatIfThere } from '../files/read-if-there.ts';
import { readInto, reading } from '../files/reading.ts';
import { syncTogether } from '../files/sync-together.ts';
import {
  demandKey,
  isKeySegment,
  MAX_NAMES,
  MAX_RECORD,
  type StoreBackend,
  type StoredContent,
  type StoredFacts,
  type StoredFile,
  type StoredRecord,
  type Version,
} from './backend.ts';
import { bucketOf } from './s3/buckets.ts';

/** Below it nobody but the owner reads. */
const PRIVATE = 'private';

/**
 * A state in a folder. Records appear by link or rename and are durable before they do; no folder on the way to one may
 * be a symbolic link; modes are exact whatever the umask. `put` and `compareAndSwap` of one key exclude each other within
 * this process, and between processes by the state's lock, which a writer holds.
 */
export class FolderBackend implements StoreBackend {
  readonly #root: string;

  constructor(root: string) {
    this.#root = root;
  }

  async get(key: string, most = MAX_RECORD): Promise<StoredRecord | undefined> {
    const path = this.#path(key);
    try {
      await this.#demandNoLinks(key);
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        const { size } = await demandFile(path, handle);
        if (size > most)
          throw new Refusal('too-large', `${path} has ${size} bytes; no record is that long.`, { path });
        const bytes = await handle.readFile();
        // What is written whole and never changed in place was read whole, or the disk gave less than it has.
        if (bytes.length !== size)
          throw new IoError(`${path} has ${size} bytes, and ${bytes.length} were read.`, path, undefined);
        return { bytes, version: versionOf(bytes) };
      } finally {
        await handle.close();
      }
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw codeOf(error) === undefined || error instanceof IoError ? error : cannotRead(path, error);
    }
  }

  put(key: string, bytes: Uint8Array): Promise<void> {
    return oneAtATime(this.#path(key), () => this.#write(key, bytes));
  }

  async putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean> {
    const path = await this.#prepare(key);
    return this.#draft(path, async (draft) => {
      await writeDurably(draft, bytes, isPrivate(key) ? 0o400 : 0o444);
      try {
        // Unlike rename() it replaces nothing.
        await link(draft, path);
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
        await rm(draft);
        return false;
      }
      await rm(draft);
      return true;
    });
  }

  async putFile(key: string, { source, name, size, sha256 }: StoredFile): Promise<void> {
    const drifted = () => new Refusal('drifted', `${name} changed after it was verified.`, { path: name });
    const path = await this.#prepare(key);
    await this.#draft(path, async (draft) => {
      if (typeof source === 'string') {
        // Before the copy: what grew into a hole of terabytes shall not be read to its end.
        if ((await statOf(source, name)).size !== size) throw drifted();
        await copyFile(source, draft, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
        const { size: copied, answers } = await measureFile(draft, [{ kind: 'digest', hash: 'sha256' }]);
        const [digest] = answers;
        const found = digest instanceof Uint8Array ? Buffer.from(digest).toString('hex') : '';
        if (copied !== size || found !== sha256) throw drifted();
        await makeDurable(draft);
      } else {
        if (source.length !== size || versionOf(source) !== sha256) throw drifted();
        await writeDurably(draft, source, 0o444);
      }
      await rename(draft, path);
    });
  }

  async open(key: string): Promise<StoredContent | undefined> {
    const path = this.#path(key);
    try {
      await this.#demandNoLinks(key);
      const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
      try {
        const { size } = await demandFile(path, handle);
        return {
          size,
          read: (buffer, position) => reading(path, undefined, () => readInto(handle, buffer, position)),
          close: () => handle.close(),
        };
      } catch (error) {
        await handle.close();
        throw error;
      }
    } catch (error) {
      if (isAbsent(error)) return undefined;
      throw codeOf(error) === undefined || error instanceof IoError ? error : cannotRead(path, error);
    }
  }

  async facts(key: string): Promise<StoredFacts | undefined> {
    const path = this.#path(key);
    await this.#demandNoLinks(key);
    const found = await lstatIfThere(path);
    if (!found) return undefined;
    if (!found.isFile()) throw new IoError(`${path} cannot be read: it is no file.`, path, undefined);
    return { size: found.size, modified: found.mtimeMs };
  }

  async copy(from: string, to: string): Promise<boolean> {
    const source = this.#path(from);
    await this.#demandNoLinks(from);
    if (!(await lstatIfThere(source))) return false;
    const path = await this.#prepare(to);
    await this.#draft(path, async (draft) => {
      await link(source, draft);
      // Over a link to the same file rename() does nothing, and leaves both (POSIX).
      await rename(draft, path);
      await rm(draft, { force: true });
    });
    return true;
  }

  async remove(key: string): Promise<void> {
    const path = this.#path(key);
    await this.#demandNoLinks(key);
    if (await lstatIfThere(path)) await remove(path);
  }

  compareAndSwap(key: string, before: Version | undefined, after: Uint8Array | undefined): Promise<boolean> {
    const path = this.#path(key);
    return oneAtATime(path, async () => {
      if ((await this.get(key))?.version !== before) return false;
      if (after) await this.#write(key, after);
      else if (before !== undefined) await remove(path);
      return true;
    });
  }

  async list(prefix: string): Promise<readonly string[]> {
    if (prefix !== '') demandKey(prefix);
    const folder = join(this.#root, prefix);
    if (prefix !== '' && !(await this.#demandNoLinks(`${prefix}/x`))) return [];
    const found = await entriesIfThere(folder);
    if (found.length > MAX_NAMES)
      throw new Refusal(
        'too-large',
        `${folder} holds ${found.length} names; no folder of a state has so many.`,
        {
          path: folder,
        },
      );
    return found
      .filter(({ name }) => isKeySegment(name))
      .map((entry) => (entry.isDirectory() ? `${entry.name}/` : entry.name))
      .sort();
  }

  isSurelyEmpty(prefix: string): boolean {
    demandKey(prefix);
    let at = this.#root;
    for (const name of prefix.split('/')) {
      at = join(at, name);
      try {
        const found = lstatSync(at, { throwIfNoEntry: false });
        if (found === undefined) return true;
        if (!found.isDirectory()) return false;
      } catch {
        return false;
      }
    }
    return false;
  }

  #path(key: string): string {
    demandKey(key);
    return join(this.#root, key);
  }

  async #write(key: string, bytes: Uint8Array): Promise<void> {
    const path = await this.#prepare(key);
    await this.#draft(path, async (draft) => {
      await writeDurably(draft, bytes, isPrivate(key) ? 0o600 : 0o644);
      await rename(draft, path);
    });
  }

  /** The folder of a key is there, and reached without links. */
  async #prepare(key: string): Promise<string> {
    const path = this.#path(key);
    await this.#demandNoLinks(key);
    if (isPrivate(key)) await makeFolders(this.#root);
    await makeFolders(dirname(path), isPrivate(key) ? 0o700 : 0o755);
    return path;
  }

  /** Lets `work` make the file of a key under another name; what it leaves of that is taken away. */
  async #draft<T>(path: string, work: (draft: string) => Promise<T>): Promise<T> {
    const folder = dirname(path);
    const draft = join(folder, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
    let answer: T;
    try {
      answer = await work(draft);
    } catch (error) {
      throw explain(error, path, await isGone(draft));
    }
    await syncTogether(folder);
    return answer;
  }

  /** @returns false where a folder on the way to a key is not there. */
  async #demandNoLinks(key: string): Promise<boolean> {
    const names = key.split('/').slice(0, -1);
    let at = this.#root;
    for (const name of names) {
      at = join(at, name);
      let linked: boolean;
      try {
        linked = (await lstat(at)).isSymbolicLink();
      } catch (error) {
        if (isAbsent(error)) return false;
        throw cannotRead(at, error);
      }
      if (linked)
        throw new Refusal(
          'unsafe-path',
          `${at} is a symbolic link; a state has none on the way to its records.`,
          {
            path: at,
          },
        );
    }
    return true;
  }
}

function isPrivate(key: string): boolean {
  return key.startsWith(`${PRIVATE}/`);
}

function versionOf(bytes: Uint8Array): Version {
  return createHash('sha256').update(bytes).digest('hex');
}

async function demandFile(path: string, handle: Awaited<ReturnType<typeof open>>) {
  const facts = await handle.stat();
  if (facts.isFile()) return facts;
  throw new IoError(
    `${path} cannot be read: it is no file.`,
    path,
    facts.isDirectory() ? 'EISDIR' : undefined,
  );
}

async function statOf(source: string, name: string) {
  try {
    return await stat(source);
  } catch (error) {
    if (isAbsent(error))
      throw new Refusal('drifted', `${name} is gone since it was verified.`, { path: name });
    throw cannotRead(source, error);
  }
}

async function writeDurably(path: string, bytes: Uint8Array, mode: number): Promise<void> {
  const handle = await open(path, 'wx', mode);
  try {
    await handle.writeFile(bytes);
    await handle.chmod(mode);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function makeDurable(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.chmod(0o444);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function remove(path: string): Promise<void> {
  try {
    await rm(path);
  } catch (error) {
    throw explain(error, path);
  }
  await syncTogether(dirname(path));
}

/** By path, the last that was begun. */
const running = new Map<string, Promise<unknown>>();

async function oneAtATime<T>(path: string, work: () => Promise<T>): Promise<T> {
  const before = running.get(path) ?? Promise.resolve();
  const mine = before.then(work, work);
  running.set(path, mine);
  try {
    return await mine;
  } finally {
    if (running.get(path) === mine) running.delete(path);
  }
}

/**
 * The records of a state, wherever it lies: the one place that tells a folder from a bucket.
 *
 * @throws UsageError for what begins like a bucket and is none.
 */
export function recordsOf(state: string): StoreBackend {
  return bucketOf(state) ?? new FolderBackend(state);
}

/** Removes what a killed writer left unfinished in a folder of the state. The state is the caller's. */
export async function cleanFolder(state: string, ...parts: string[]): Promise<void> {
  try {
    await removeTemporaries(join(state, ...parts));
  } catch (error) {
    if (!isAbsent(error)) throw error;
  }
}
