import { constants } from 'node:fs';
import { open, readdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { type Lock, takeLock } from '../files/lock.ts';
import { makeFolders } from '../files/make-folders.ts';
import { measureFile } from '../files/measure.ts';
import { lstatIfThere } from '../files/read-if-there.ts';
import { objectKey } from '../store/objects.ts';
import { isBucketState } from '../store/s3/location.ts';

/** Bytes that a manifest which was verified promises. */
export interface PromisedFile {
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/**
 * Where files lie between their mirror and the store: by digest, `<sha256>` once they are whole and were hashed, and
 * `<sha256>.part` before. It survives whatever ends a pull, and the next one goes on there. One pull at a time.
 */
export class Staging {
  readonly #folder: string;
  readonly #state: string;
  readonly #lock: Lock;
  /** Digests of objects of the store that are another content by now. */
  readonly #rotten = new Set<string>();

  private constructor(folder: string, state: string, lock: Lock) {
    this.#folder = folder;
    this.#state = state;
    this.#lock = lock;
  }

  /** @throws IoError where another pull is at work there. */
  static async open(folder: string, state: string): Promise<Staging> {
    await makeFolders(folder, 0o700);
    const lock = await takeLock(join(folder, 'lock'), folder);
    return new Staging(resolve(folder), state, lock);
  }

  /** Where a file is that need not be fetched: here, or among the objects of the store. Undefined: nowhere yet. */
  async find({ sha256, size }: PromisedFile): Promise<string | undefined> {
    const staged = join(this.#folder, sha256);
    const isUsable = !isBucketState(this.#state) && !this.#rotten.has(sha256);
    const object = isUsable ? [resolve(this.#state, objectKey(sha256))] : [];
    for (const path of [staged, ...object]) {
      const facts = await lstatIfThere(path);
      if (facts?.isFile() && facts.size === size) return path;
    }
    return undefined;
  }

  /** A whole file by its name alone: where nobody signed a length, `sha256` is no digest, and it has to be judged anew. */
  async whole(sha256: string): Promise<string | undefined> {
    const staged = join(this.#folder, sha256);
    return (await lstatIfThere(staged))?.isFile() ? staged : undefined;
  }

  /**
   * Looks whether what `find` gave is still what its name says; what is not is found no more. A disk that rots is no
   * fault of a mirror.
   *
   * @returns false where it has to be fetched. @throws IoError
   */
  async isSound({ sha256 }: PromisedFile, path: string): Promise<boolean> {
    const { answers } = await measureFile(path, [{ kind: 'digest', hash: 'sha256' }]);
    const [digest] = answers;
    if (digest instanceof Uint8Array && Buffer.from(digest).toString('hex') === sha256) return true;
    if (path === join(this.#folder, sha256)) await rm(path, { force: true });
    else this.#rotten.add(sha256);
    return false;
  }

  /** A file that is on its way, opened where it stopped. */
  async part({ sha256 }: PromisedFile): Promise<Part> {
    const path = join(this.#folder, `${sha256}.part`);
    try {
      const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW;
      const handle = await open(path, flags, 0o600);
      return new Part(handle, path, join(this.#folder, sha256));
    } catch (error) {
      throw explain(error, path);
    }
  }

  /** Bytes that are here already, by digest: written where `find` looks. */
  async put({ sha256, size }: PromisedFile, bytes: Uint8Array): Promise<string> {
    const part = await this.part({ sha256, size });
    try {
      await part.truncate(0);
      await part.write(bytes, 0);
      return await part.finish();
    } finally {
      await part.close();
    }
  }

  /** Takes away what was left: of this pull, which is done, and of others that were given up. */
  async empty(): Promise<void> {
    for (const name of await readdir(this.#folder)) {
      if (/^([0-9a-f]{64}(\.part)?|rsync-[0-9a-f]{16})$/.test(name))
        await rm(join(this.#folder, name), { recursive: true, force: true });
    }
  }

  async close(): Promise<void> {
    await this.#lock.release();
  }
}

/** A file that is on its way. */
export class Part {
  readonly #handle: Awaited<ReturnType<typeof open>>;
  readonly path: string;
  readonly #whole: string;

  constructor(handle: Awaited<ReturnType<typeof open>>, path: string, whole: string) {
    this.#handle = handle;
    this.path = path;
    this.#whole = whole;
  }

  /** Bytes that are there. @throws IoError */
  length(): Promise<number> {
    return this.#explained(async () => (await this.#handle.stat()).size);
  }

  /** What is there, from the beginning, so many bytes. @throws IoError */
  async *content(octets: number): AsyncGenerator<Uint8Array> {
    const buffer = Buffer.allocUnsafe(1024 * 1024);
    for (let at = 0; at < octets; ) {
      const from = at;
      const { bytesRead } = await this.#explained(() =>
        this.#handle.read(buffer, 0, Math.min(buffer.length, octets - from), from),
      );
      if (bytesRead === 0) return;
      at += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    await this.#explained(async () => {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.#handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
      }
    });
  }

  async truncate(octets: number): Promise<void> {
    await this.#explained(() => this.#handle.truncate(octets));
  }

  /** It is whole, and is what was promised: it gets its name. @returns where it is. */
  async finish(): Promise<string> {
    await this.#explained(async () => {
      await this.#handle.sync();
      await rename(this.path, this.#whole);
      await syncDirectory(join(this.#whole, '..'));
    });
    return this.#whole;
  }

  async close(): Promise<void> {
    await this.#handle.close().catch(() => {});
  }

  async #explained<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw explain(error, this.path);
    }
  }
}
