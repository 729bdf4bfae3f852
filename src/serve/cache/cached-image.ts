import { randomBytes } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../../errors/refusal.ts';
import { writeFully } from '../../files/read-fully.ts';
import { readInto } from '../../files/reading.ts';
import type { PromisedFile } from '../../release/promised-file.ts';
import { type CacheFolder, type Held, removeFile } from './cache-folder.ts';
import { type ContentSource, openWanted, readWanted, type SourceContent } from './source.ts';

/** Bytes of what a hash tree vouches for at a time. */
const BLOCK = 4096;
/** Bytes that are fetched at a time. */
const CHUNK = 1024 * 1024;

/** Whether a block is the one that was sealed. */
export type VerifyBlock = (index: number, block: Buffer) => boolean | Promise<boolean>;

export interface CachedImageOptions {
  readonly file: PromisedFile;
  readonly folder: CacheFolder;
  readonly source: ContentSource;
  readonly verify: VerifyBlock;
  /** A block of what the store has is not the one that was sealed. */
  readonly onRefused: (refusal: Refusal) => void;
  /** A part of it was fetched, and was what was sealed. @param wrong another part was not, the last time. */
  readonly onFetched: (bytes: number, wrong: boolean) => void;
  /** All of it is in a file now: its path, which is the caller's from here on. */
  readonly onWhole: (name: string) => Promise<void>;
}

/**
 * An image of which only those parts are fetched that somebody reads. Every block is held against the hash tree each time
 * before it is handed out, wherever it was: what is in the cache is trusted no more than what is in the store.
 */
export class CachedImage {
  readonly #options: CachedImageOptions;
  readonly #here = new Set<number>();
  readonly #coming = new Map<number, Promise<Buffer>>();
  /** Chunks that were not what was sealed when they were fetched last. */
  readonly #wrong = new Set<number>();
  #name = '';
  #users = 0;
  #held: Held = this.#nothing();
  #handle: FileHandle | undefined;
  #opening: Promise<FileHandle | undefined> | undefined;
  #content: Promise<SourceContent> | undefined;

  constructor(options: CachedImageOptions) {
    this.#options = options;
  }

  /** Bytes that are in the cache. */
  get here(): number {
    return this.#here.size * CHUNK;
  }

  /** Keeps what was fetched from being given up, until `leave`. */
  use(): void {
    this.#users += 1;
    this.#held.users += 1;
  }

  async leave(): Promise<void> {
    this.#users -= 1;
    this.#held.users -= 1;
    if (this.#users === 0) await this.#closeContent();
  }

  /** Gives up what is here; what is being read ends first. */
  async end(): Promise<void> {
    await this.#closeContent();
    await this.#opening?.catch(() => {});
    if (this.#handle) await this.#options.folder.drop(this.#name);
    const handle = this.#handle;
    this.#forget();
    await handle?.close().catch(() => {});
  }

  async #closeContent(): Promise<void> {
    const content = this.#content;
    this.#content = undefined;
    await content?.then(
      (one) => one.close(),
      // It never was open.
      () => {},
    );
  }

  /**
   * Fills all of `into` from `position` on.
   *
   * @throws Refusal `drifted` where a block is not the one that was sealed, `unreachable`; what `into` holds then must not leave.
   */
  async read(into: Uint8Array, position: number): Promise<void> {
    const end = position + into.length;
    const first = Math.floor(position / BLOCK) * BLOCK;
    const last = Math.ceil(end / BLOCK) * BLOCK;
    const aligned = first === position && last === end;
    const whole = aligned
      ? Buffer.from(into.buffer, into.byteOffset, into.length)
      : Buffer.allocUnsafe(last - first);
    for (let at = first; at < last; ) {
      const chunk = Math.floor(at / CHUNK);
      const to = Math.min(last, (chunk + 1) * CHUNK);
      await this.#fill(chunk, whole.subarray(at - first, to - first), at);
      at = to;
    }
    if (!aligned) whole.copy(into, 0, position - first, end - first);
  }

  async #fill(chunk: number, into: Buffer, position: number): Promise<void> {
    if (this.#here.has(chunk) && (await this.#recall(into, position))) return;
    const coming = this.#coming.get(chunk) ?? this.#fetch(chunk);
    const bytes = await coming;
    bytes.copy(into, 0, position - chunk * CHUNK);
  }

  /** False where the cache has it no more, or not as it was. */
  async #recall(into: Buffer, position: number): Promise<boolean> {
    const handle = this.#handle;
    if (!handle) return false;
    try {
      if ((await readInto(handle, into, position)) !== into.length) return false;
    } catch {
      // Given up meanwhile, or a disk that fails: the store has it.
      return false;
    }
    if ((await this.#odd(into, position)) === undefined) return true;
    const chunk = Math.floor(position / CHUNK);
    if (this.#here.delete(chunk)) this.#held.bytes -= this.#lengthOf(chunk);
    return false;
  }

  #fetch(chunk: number): Promise<Buffer> {
    const fetched = this.#fetched(chunk).finally(() => this.#coming.delete(chunk));
    this.#coming.set(chunk, fetched);
    return fetched;
  }

  async #fetched(chunk: number): Promise<Buffer> {
    const { file, source, onRefused, onFetched } = this.#options;
    const start = chunk * CHUNK;
    // Nobody else's: a read that comes too late may still write to it.
    const bytes = Buffer.allocUnsafeSlow(this.#lengthOf(chunk));
    try {
      this.#content ??= openWanted(source, file);
      await readWanted(await this.#content, file, bytes, start);
    } catch (error) {
      await this.#closeContent();
      if (error instanceof Refusal && error.code !== 'unreachable') {
        this.#wrong.add(chunk);
        onRefused(error);
      }
      throw error;
    }
    const odd = await this.#odd(bytes, start);
    if (odd !== undefined) {
      // Whoever asks again asks for what is there then.
      await this.#closeContent();
      const refusal = new Refusal(
        'drifted',
        `${file.name} in the store is not what was published: its block ${odd} was changed; publish its release again.`,
        { path: file.name, block: odd },
      );
      this.#wrong.add(chunk);
      onRefused(refusal);
      throw refusal;
    }
    this.#wrong.delete(chunk);
    onFetched(bytes.length, this.#wrong.size > 0);
    await this.#keep(chunk, bytes);
    return bytes;
  }

  #lengthOf(chunk: number): number {
    return Math.min(CHUNK, this.#options.file.size - chunk * CHUNK);
  }

  /** The first block that is not the one that was sealed. */
  async #odd(bytes: Buffer, start: number): Promise<number | undefined> {
    const { verify } = this.#options;
    for (let at = 0; at < bytes.length; at += BLOCK) {
      const index = (start + at) / BLOCK;
      const verdict = verify(index, bytes.subarray(at, at + BLOCK));
      if (!(typeof verdict === 'boolean' ? verdict : await verdict)) return index;
    }
    return undefined;
  }

  /** Where there is no room, or the disk fails, the next one who asks fetches it again. */
  async #keep(chunk: number, bytes: Buffer): Promise<void> {
    const { file, folder, onWhole } = this.#options;
    try {
      this.#opening ??= this.#open();
      const handle = await this.#opening;
      if (!handle || handle !== this.#handle) return;
      if (!(await folder.take(this.#name, bytes.length, this.#held))) return;
      await writeFully(folder.pathOf(this.#name), handle, bytes, chunk * CHUNK);
      if (handle === this.#handle) this.#here.add(chunk);
    } catch {
      return;
    }
    if (this.#here.size < Math.ceil(file.size / CHUNK)) return;
    const name = this.#name;
    this.#forget();
    await onWhole(name);
  }

  async #open(): Promise<FileHandle | undefined> {
    const { file, folder } = this.#options;
    const name = `.${file.sha256}-${randomBytes(8).toString('hex')}`;
    try {
      const handle = await folder.create(name);
      this.#name = name;
      this.#handle = handle;
      this.#held = this.#nothing();
      return handle;
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  #nothing(): Held {
    return {
      bytes: 0,
      users: this.#users,
      drop: async () => {
        const { folder } = this.#options;
        const name = this.#name;
        this.#forget();
        await removeFile(folder.pathOf(name));
      },
    };
  }

  #forget(): void {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#opening = undefined;
    this.#held = this.#nothing();
    this.#here.clear();
    // Reads under way end first: Node waits for them.
    void handle?.close().catch(() => {});
  }
}
