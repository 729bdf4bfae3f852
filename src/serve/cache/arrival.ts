import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { Refusal } from '../../errors/refusal.ts';
import { explain } from '../../files/atomic-file.ts';
import { writeFully } from '../../files/read-fully.ts';
import { type ContentSource, openWanted, readWanted, type SourceContent, type Wanted } from './source.ts';
import { Waiters } from './waiters.ts';

/** Bytes that are asked for at a time, and how many such questions are on the way: what is far away is slow, not narrow. */
const PIECE = 2 * 1024 * 1024;
const ON_THE_WAY = 4;

/**
 * Content on its way into a file of the cache. Those who want all of it from the beginning may read what has come; it
 * counts for nothing before `finished` has resolved.
 */
export class Arrival {
  readonly wanted: Wanted;
  readonly path: string;
  readonly #handle: FileHandle;
  readonly #waiters = new Waiters();
  #arrived = 0;
  #failure: unknown;
  #users = 1;

  private constructor(wanted: Wanted, path: string, handle: FileHandle) {
    this.wanted = wanted;
    this.path = path;
    this.#handle = handle;
  }

  /** @param path of the file, which must not be there. @throws IoError */
  static async begin(wanted: Wanted, path: string): Promise<Arrival> {
    try {
      return new Arrival(wanted, path, await open(path, 'wx+', 0o600));
    } catch (error) {
      throw explain(error, path);
    }
  }

  /** For who reads what has come, and gives it up with `close`. */
  get handle(): FileHandle {
    return this.#handle;
  }

  /**
   * Fetches all of it; resolves when it is in the file and has the digest that was signed.
   *
   * @throws Refusal `drifted`, `unreachable`; IoError of this machine's disk.
   */
  async fetch(source: ContentSource): Promise<void> {
    try {
      const content = await openWanted(source, this.wanted);
      try {
        await this.#take(content);
      } finally {
        await content.close();
      }
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

  /** As `OpenResource.read`: waits until something has come. */
  async read(buffer: Uint8Array, position: number): Promise<number> {
    if (position >= this.wanted.size) return 0;
    while (position >= this.#arrived) {
      if (this.#failure !== undefined) throw this.#failure;
      await this.#waiters.next();
    }
    const length = Math.min(buffer.length, this.#arrived - position);
    const { bytesRead } = await this.#handle.read(buffer, 0, length, position);
    return bytesRead;
  }

  use(): void {
    this.#users += 1;
  }

  /** Closes the file with the last of those who use it. */
  async close(): Promise<void> {
    this.#users -= 1;
    if (this.#users === 0) await this.#handle.close().catch(() => {});
  }

  async #take(content: SourceContent): Promise<void> {
    const { size, sha256, name } = this.wanted;
    const hash = createHash('sha256');
    let asked = 0;
    const most = Math.min(PIECE, size);
    const coming: { readonly whole: Buffer; readonly piece: Promise<Buffer> }[] = [];
    // Used again: an image would take as much fresh memory as it has bytes.
    const free: Buffer[] = [];
    const ask = (): void => {
      while (asked < size && coming.length < ON_THE_WAY) {
        const whole = free.pop() ?? Buffer.allocUnsafeSlow(most);
        const buffer = whole.subarray(0, Math.min(most, size - asked));
        const piece = readWanted(content, this.wanted, buffer, asked).then(() => buffer);
        // It is awaited in its turn; until then its failure has no listener.
        piece.catch(() => {});
        coming.push({ whole, piece });
        asked += buffer.length;
      }
    };
    ask();
    for (let next = coming.shift(); next !== undefined; next = coming.shift()) {
      const piece = await next.piece;
      if (this.#failure !== undefined) throw this.#failure;
      hash.update(piece);
      await writeFully(this.path, this.#handle, piece, this.#arrived);
      this.#arrived += piece.length;
      // The last bytes are read by whoever asks; that they may leave is said elsewhere.
      this.#waiters.wake();
      free.push(next.whole);
      ask();
    }
    if (hash.digest('hex') === sha256) return;
    throw new Refusal(
      'drifted',
      `${name} in the store is not what was published: its bytes were changed; publish its release again.`,
      { path: name, sha256 },
    );
  }
}
