import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../../errors/refusal.ts';
import { writeFully } from '../../files/read-fully.ts';
import { type ContentSource, openWanted, readWanted, type SourceContent, type Wanted } from './source.ts';
import { Waiters } from './waiters.ts';

/** Bytes that are asked for at a time, and how many such questions are on the way: what is far away is slow, not narrow. */
const PIECE = 2 * 1024 * 1024;
const ON_THE_WAY = 4;
/** Bytes. Of what is larger, twice as much is asked for at a time: each question costs some milliseconds of a processor. */
const LARGE = 64 * 1024 * 1024;

/** How much more of what is hashed by others is in memory, for them and for clients that keep up. */
const KEPT = 4;
/** Milliseconds for which it stays there once all of it has come. */
const LINGER = 5_000;

/** Somebody who hashes what comes, by `hand`. */
export interface Hashing {
  /** Whether he does: otherwise it is hashed here. */
  readonly begun: Promise<boolean>;
  /** Lower-case hex, once all of it has come. */
  readonly sha256: Promise<string>;
}

interface Piece {
  /** To be used again. */
  readonly whole: Buffer;
  readonly bytes: Buffer;
}

/**
 * Content on its way into a file of the cache. Those who want all of it from the beginning may read what has come; it
 * counts for nothing before `finished` has resolved.
 */
export class Arrival {
  readonly wanted: Wanted;
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #waiters = new Waiters();
  /** Bytes of a piece. */
  readonly #most: number;
  /** What came last, by its position, the oldest first. */
  readonly #recent = new Map<number, Piece>();
  #arrived = 0;
  /** Bytes: what was before that may go from memory. */
  #hashed = 0;
  #linger: NodeJS.Timeout | undefined;
  #failure: unknown;
  #users = 1;

  /** @param handle of the file at `path`, which is empty; closed with the last user. */
  constructor(wanted: Wanted, path: string, handle: FileHandle) {
    this.wanted = wanted;
    this.path = path;
    this.#handle = handle;
    this.#most = wanted.size > LARGE ? 2 * PIECE : Math.min(PIECE, wanted.size);
  }

  /** It will never be whole. */
  get failed(): boolean {
    return this.#failure !== undefined;
  }

  /** For who reads what has come, and gives it up with `close`. */
  get handle(): FileHandle {
    return this.#handle;
  }

  /**
   * Fetches all of it; resolves when it is in the file and has the digest that was signed.
   *
   * @param hashing undefined: nobody else does.
   * @throws Refusal `drifted`, `unreachable`; IoError of this machine's disk.
   */
  async fetch(source: ContentSource, hashing?: Hashing): Promise<void> {
    try {
      // A store that is silent for long keeps nobody from giving it up.
      await Promise.race([this.#fetch(source, hashing), this.#failing()]);
    } catch (error) {
      this.fail(error);
      throw error;
    }
  }

  /** Tells those who read it that it will never be whole. */
  fail(error: unknown): void {
    this.#failure ??= error;
    this.#waiters.wake();
  }

  /** As `read`, out of memory: the bytes that are hashed. Undefined where they are there no more. */
  async recall(buffer: Uint8Array, position: number): Promise<number | undefined> {
    if (position >= this.wanted.size) return 0;
    await this.come(position + 1);
    const start = Math.floor(position / this.#most) * this.#most;
    return this.#recent.get(start)?.bytes.copy(buffer, 0, position - start);
  }

  /** The same for who hashes it, from the first byte to the last: nothing goes from memory before he has it. */
  async hand(buffer: Uint8Array, position: number): Promise<number> {
    const count = await this.recall(buffer, position);
    if (count === undefined) throw new RangeError('what is hashed is taken in its order');
    this.#hashed = position + count;
    this.#waiters.wake();
    return count;
  }

  /** As `OpenResource.read`: waits until something has come. */
  async read(buffer: Uint8Array, position: number): Promise<number> {
    if (position >= this.wanted.size) return 0;
    await this.come(position + 1);
    const length = Math.min(buffer.length, this.#arrived - position);
    const { bytesRead } = await this.#handle.read(buffer, 0, length, position);
    return bytesRead;
  }

  /** Resolves when so many bytes lie in the file. @throws what ended it before. */
  async come(bytes: number): Promise<void> {
    while (this.#arrived < bytes) {
      if (this.#failure !== undefined) throw this.#failure;
      await this.#waiters.next();
    }
  }

  use(): void {
    this.#users += 1;
  }

  /** Closes the file with the last of those who use it. */
  async close(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#forget();
    await this.#handle.close().catch(() => {});
  }

  #forget(): void {
    clearTimeout(this.#linger);
    this.#recent.clear();
  }

  async #fetch(source: ContentSource, hashing: Hashing | undefined): Promise<void> {
    const content = await openWanted(source, this.wanted);
    try {
      await this.#take(content, hashing);
    } finally {
      await content.close();
    }
  }

  async #failing(): Promise<never> {
    while (this.#failure === undefined) await this.#waiters.next();
    throw this.#failure;
  }

  async #take(content: SourceContent, hashing: Hashing | undefined): Promise<void> {
    const { size, sha256, name } = this.wanted;
    const hash = (await hashing?.begun) ? undefined : createHash('sha256');
    let asked = 0;
    const coming: Promise<Piece>[] = [];
    let made = 0;
    // Used again: an image would take as much fresh memory as it has bytes.
    const room = (): Buffer | undefined => {
      const [oldest] = this.#recent;
      if (made < ON_THE_WAY + (hash ? 1 : KEPT)) {
        made += 1;
        return Buffer.allocUnsafeSlow(this.#most);
      }
      if (oldest === undefined || oldest[0] + oldest[1].bytes.length > this.#hashed) return undefined;
      this.#recent.delete(oldest[0]);
      return oldest[1].whole;
    };
    const ask = (): void => {
      while (asked < size && coming.length < ON_THE_WAY) {
        const whole = room();
        if (!whole) return;
        const bytes = whole.subarray(0, Math.min(this.#most, size - asked));
        const piece = this.#bring(content, bytes, asked).then(() => ({ whole, bytes }));
        // It is awaited in its turn; until then its failure has no listener.
        piece.catch(() => {});
        coming.push(piece);
        asked += bytes.length;
      }
    };
    while (this.#arrived < size) {
      ask();
      const next = coming.shift();
      if (next === undefined) {
        // Nothing of what came has been hashed yet.
        await this.#waiters.next();
        if (this.#failure !== undefined) throw this.#failure;
        continue;
      }
      const piece = await next;
      this.#recent.set(this.#arrived, piece);
      this.#arrived += piece.bytes.length;
      hash?.update(piece.bytes);
      if (hash) this.#hashed = this.#arrived;
      // The last bytes are read by whoever asks; that they may leave is said elsewhere.
      this.#waiters.wake();
    }
    const found = hash?.digest('hex') ?? (await hashing?.sha256);
    if (hash) this.#forget();
    else this.#linger = setTimeout(() => this.#forget(), LINGER).unref();
    if (found === sha256) return;
    throw new Refusal(
      'drifted',
      `${name} in the store is not what was published: its bytes were changed; publish its release again.`,
      { path: name, sha256 },
    );
  }

  /** Pieces do not wait for each other to be written: only what is told of them goes in order. */
  async #bring(content: SourceContent, piece: Buffer, position: number): Promise<void> {
    await readWanted(content, this.wanted, piece, position);
    if (this.#failure !== undefined) throw this.#failure;
    await writeFully(this.path, this.#handle, piece, position);
  }
}
