import { fstatSync, read } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../../errors/refusal.ts';
import { demandSameFile, type FileIdentity, onlyRelinked } from '../../files/file-identity.ts';
import { measureHandle, openRegular } from '../../files/measure.ts';
import type { PinnedFile } from '../../release/pin.ts';
import { pinOf } from '../../release/pin.ts';
import type { NbdExport, NbdExports } from './nbd-types.ts';
import { type BlockVerifier, VerifiedBlocks } from './nbd-verified-blocks.ts';
import { WarmReads } from './warm-reads.ts';

export interface FileExportOptions {
  /** The name that clients ask for. */
  readonly name: string;
  /** For people; default none. */
  readonly description?: string;
  readonly file: PinnedFile;
  /** Looks at every block before any of its bytes leaves for the first time. */
  readonly verify?: BlockVerifier;
  /**
   * Told once, when the file turns out to be another than the one that was verified (`drifted`), or when a block
   * of it is not what it should be (what `verify` said). From then on every read fails.
   */
  readonly onShut?: (refusal: Refusal) => void;
}

/** Numbers hold times to a quarter of a microsecond only. */
const EXACT = { bigint: true } as const;

/** A verified file as an export: one descriptor for all of its connections, open while there is one. */
export class FileExport {
  readonly name: string;
  readonly description: string;
  readonly #file: PinnedFile;
  readonly #onShut: ((refusal: Refusal) => void) | undefined;
  readonly #blocks: VerifiedBlocks | undefined;
  readonly #warm = new WarmReads();
  #identity: FileIdentity;
  /** Where no block can be held against anything: how often something but its links may have changed. */
  #generation = 0;
  /** And that it has to be read anew, as a whole, before any of it leaves again. */
  #doubtful = false;
  #judging: Promise<void> | undefined;
  #opened: Promise<FileHandle> | undefined;
  #users = 0;
  #shut: Refusal | undefined;

  constructor({ name, description = '', file, verify, onShut }: FileExportOptions) {
    this.name = name;
    this.description = description;
    this.#file = file;
    this.#identity = file.identity;
    this.#onShut = onShut;
    this.#blocks = verify && new VerifiedBlocks(file.name, file.size, verify);
  }

  /** Why it is not served any more; undefined while it is. */
  get shut(): Refusal | undefined {
    return this.#shut;
  }

  /** @throws Refusal where it may not be served. */
  async open(): Promise<NbdExport> {
    this.#users += 1;
    this.#opened ??= this.#openFile();
    try {
      const handle = await this.#opened;
      if (this.#shut !== undefined) throw this.#shut;
      return this.#exportOf(handle);
    } catch (error) {
      await this.#leave();
      throw error;
    }
  }

  async #openFile(): Promise<FileHandle> {
    if (this.#shut !== undefined) throw this.#shut;
    const { name, path } = this.#file;
    const { handle, identity } = await openRegular(path).catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error;
      // "absent" would be a file that never was, and paths of this machine are none of a client's business.
      const message = `${name} is no longer the file that was verified: it is gone or cannot be read.`;
      throw new Refusal('drifted', message, { path, found: error.code }, { cause: error });
    });
    try {
      this.#demandSame(identity, true);
      return handle;
    } catch (error) {
      await handle.close();
      throw this.#shutFor(error);
    }
  }

  /**
   * A file of which nothing but the links may have changed goes on being served, and each block of it is looked at
   * anew when it is read next. What has no hash tree, and a hash tree itself, is hashed as a whole before.
   */
  #demandSame(now: FileIdentity, named: boolean): void {
    const { withdrawn } = pinOf(this.#file);
    if (withdrawn) throw withdrawn;
    if (named && onlyRelinked(this.#identity, now)) {
      this.#identity = now;
      if (this.#blocks !== undefined) this.#blocks.forget();
      else {
        this.#generation += 1;
        this.#doubtful = true;
      }
    }
    demandSameFile(this.#file.name, this.#identity, now);
  }

  /** Hashes all of a file without a hash tree, once for all who read it meanwhile. */
  #judgeOnce(handle: FileHandle): Promise<void> {
    this.#judging ??= this.#judge(handle).finally(() => {
      this.#judging = undefined;
    });
    return this.#judging;
  }

  async #judge(handle: FileHandle): Promise<void> {
    const { name, sha256 } = this.#file;
    const opened = { handle, identity: this.#identity };
    const generation = this.#generation;
    let read = opened.identity;
    try {
      const measured = await measureHandle(opened, name, [{ kind: 'digest', hash: 'sha256' }]).catch(
        (error) => {
          if (!(error instanceof Refusal)) throw error;
          // Links that came or went while it was read: it is read again.
          this.#look(handle);
          if (generation === this.#generation) throw error;
        },
      );
      if (measured === undefined) return;
      read = measured.identity;
      const [digest] = measured.answers;
      if (!(digest instanceof Uint8Array) || Buffer.from(digest).toString('hex') !== sha256)
        throw new Refusal('drifted', `${name} was changed, and its times put back.`, { path: name });
    } catch (error) {
      throw this.#shutFor(error);
    }
    if (generation !== this.#generation) return;
    this.#identity = read;
    this.#doubtful = false;
  }

  /**
   * The inode of an open file is in memory: asking for it costs no more than handing the question to another thread would,
   * and one answer does for all replies of a write.
   */
  #look({ fd }: FileHandle): void {
    const stat = fstatSync(fd, EXACT);
    this.#demandSame(stat, stat.nlink > 0n);
  }

  async #leave(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    const opened = this.#opened;
    this.#opened = undefined;
    await opened?.then(
      (handle) => handle.close(),
      // It never was open.
      () => {},
    );
  }

  #exportOf(handle: FileHandle): NbdExport {
    const { name, size } = this.#file;
    const readCold = async (into: Buffer, position: number): Promise<void> => {
      if (await fill(handle.fd, into, position)) return;
      throw this.#shutFor(new Refusal('drifted', `${name} is shorter than it was.`, { position }));
    };
    const readFile = (into: Buffer, position: number): Promise<void> | undefined =>
      this.#warm.fill(handle.fd, into, position) ? undefined : readCold(into, position);
    const check = (): void => {
      if (this.#shut !== undefined) throw this.#shut;
      try {
        this.#look(handle);
      } catch (error) {
        throw this.#shutFor(error);
      }
    };
    const readJudged = async (into: Buffer, position: number): Promise<void> => {
      while (this.#doubtful) await this.#judgeOnce(handle);
      await readFile(into, position);
    };
    const blocks = this.#blocks;
    const generation = (): number => blocks?.generation ?? this.#generation;
    return {
      name: this.name,
      description: this.description,
      size,
      get generation() {
        return generation();
      },
      read: (into, position) => {
        if (this.#shut !== undefined) return Promise.reject(this.#shut);
        if (this.#doubtful) return readJudged(into, position);
        if (blocks === undefined || blocks.has(position, into.length)) return readFile(into, position);
        const refuse = (error: unknown): never => {
          // Where the file was changed, that is the reason, and not what its blocks look like now.
          check();
          throw this.#shutFor(error);
        };
        try {
          return blocks.read(into, position, readFile)?.catch(refuse);
        } catch (error) {
          return Promise.reject(error).catch(refuse);
        }
      },
      check,
      close: () => this.#leave(),
    };
  }

  /** Gives out nothing of it any more, to clients that have it open neither. */
  withdraw(refusal: Refusal): void {
    this.#shutFor(refusal);
  }

  /** Nothing of this file leaves any more where the reason is a refusal. */
  #shutFor(error: unknown): unknown {
    if (!(error instanceof Refusal) || this.#shut !== undefined) return error;
    this.#shut = error;
    this.#onShut?.(error);
    return error;
  }
}

/** Fills a buffer from a descriptor; false where the file ends before. */
function fill(fd: number, into: Buffer, position: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const next = (at: number): void => {
      read(fd, into, at, into.length - at, position + at, (error, count) => {
        if (error !== null) reject(error);
        else if (count === 0) resolve(false);
        else if (at + count === into.length) resolve(true);
        else next(at + count);
      });
    };
    next(0);
  });
}

/** Files by their names; the first one is the default export. */
export function fileExports(files: readonly FileExport[]): NbdExports {
  const byName = new Map(files.map((file) => [file.name, file]));
  return {
    list: () => files,
    async open(name) {
      return (name === '' ? files[0] : byName.get(name))?.open();
    },
  };
}
