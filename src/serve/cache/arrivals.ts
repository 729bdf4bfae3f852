import { randomBytes } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { IoError } from '../../errors/io.ts';
import { explain } from '../../files/atomic-file.ts';
import type { PinnedFile } from '../../release/pin.ts';
import type { PromisedFile } from '../../release/promised-file.ts';
import { Arrival } from './arrival.ts';
import { type CacheFolder, type Held, removeFile } from './cache-folder.ts';
import type { CacheHealth } from './cache-health.ts';
import { type JudgedAsItComes, judgeComing } from './judged-file.ts';
import { noRoom } from './patience.ts';
import type { ContentSource } from './source.ts';

/** Files that are on their way at the same time. */
const MOST = 64;
/** Files that are judged while they come, at the same time: each has threads of its own for as long. */
const MOST_FOLLOWED = 2;
/** Bytes. What is smaller is judged in no time when it is here. */
const WORTH_FOLLOWING = 4 * 1024 * 1024;

/** A file on its way into a cache. */
export interface Coming {
  readonly arrival: Arrival;
  /** Stays while it is read, also when it has come. */
  readonly held: Held;
  /** Resolves when its bytes are those that were promised. */
  readonly done: Promise<PinnedFile>;
}

export interface ArrivalsOptions {
  readonly folder: CacheFolder;
  readonly source: ContentSource;
  readonly health: CacheHealth;
  /** Notes what the store says to a question. */
  asking<T>(file: PromisedFile, asked: Promise<T>): Promise<T>;
  /** All of it came, and has its digest. @param fits whether every seal was seen to fit meanwhile. */
  onFetched(file: PromisedFile, fits: boolean): void;
  /** Gives a file that is whole its name. */
  settle(file: PromisedFile, handle: FileHandle, name: string): Promise<PinnedFile>;
  /** It was judged as it came, and has its name now. */
  onSettled(file: PromisedFile): void;
}

/** Files that are fetched whole, each once, whoever asks for it meanwhile. */
export class Arrivals {
  readonly #options: ArrivalsOptions;
  /** By digest. */
  readonly #coming = new Map<string, Promise<Coming | undefined>>();
  #followed = 0;
  #ended = false;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
  }

  /** The file on its way; undefined where there is no room for it. @throws Refusal `unreachable`; IoError. */
  async come(file: PromisedFile): Promise<Coming | undefined> {
    const { sha256 } = file;
    for (let known = this.#coming.get(sha256); known; known = this.#coming.get(sha256)) {
      const one = await known;
      if (!one?.arrival.failed) return one;
      // It is on its way out: whoever comes now has nothing of it.
      if (this.#coming.get(sha256) === known) this.#coming.delete(sha256);
    }
    if (this.#ended) throw new IoError('The server is closing.', file.name, undefined);
    if (this.#options.health.diskFails) return undefined;
    if (this.#coming.size >= MOST) throw noRoom(file, `${MOST} other files are on their way already`);
    const coming = this.#begin(file);
    this.#coming.set(sha256, coming);
    const over = (): void => {
      if (this.#coming.get(sha256) === coming) this.#coming.delete(sha256);
    };
    coming.then((one) => (one ? one.done.then(over, over) : over()), over);
    return coming;
  }

  /** Reads of what comes end with a failure; resolves when nothing of it is left. */
  async end(): Promise<void> {
    this.#ended = true;
    const leaving = [...this.#coming.values()].map(async (coming) => {
      const one = await coming;
      one?.arrival.fail(new IoError('The server is closing.', one.arrival.path, undefined));
      await one?.done;
    });
    await Promise.allSettled(leaving);
  }

  async #begin(file: PromisedFile): Promise<Coming | undefined> {
    const { folder } = this.#options;
    const { sha256, size } = file;
    const name = `.${sha256}-${randomBytes(8).toString('hex')}`;
    const path = folder.pathOf(name);
    const held: Held = { bytes: 0, users: 1, drop: () => removeFile(path) };
    try {
      if (!(await folder.take(name, size, held))) return undefined;
      const arrival = new Arrival(file, path, await folder.create(name));
      const done = this.#arrived(file, arrival, name, held);
      // Those who read it as it comes learn of it by themselves.
      done.catch(() => {});
      return { arrival, held, done };
    } catch (error) {
      await folder.drop(name).catch(() => {});
      // Whatever the disk says: what is asked for can be had without it.
      const told = explain(error, path);
      this.#noteDisk(told);
      if (told instanceof IoError) return undefined;
      throw told;
    }
  }

  async #arrived(file: PromisedFile, arrival: Arrival, name: string, held: Held): Promise<PinnedFile> {
    const { source, folder, asking, onFetched, settle, onSettled } = this.#options;
    const judging = this.#follow(file, arrival);
    try {
      await asking(file, arrival.fetch(source, judging));
      onFetched(file, (await judging?.fits) === true);
      const pinned = await settle(file, arrival.handle, name);
      held.users -= 1;
      if (judging) onSettled(file);
      return pinned;
    } catch (error) {
      arrival.fail(error);
      await folder.drop(name).catch(() => {});
      this.#noteDisk(error);
      throw error;
    } finally {
      await arrival.close();
    }
  }

  /** Undefined where it is judged when it is here. */
  #follow(file: PromisedFile, arrival: Arrival): JudgedAsItComes | undefined {
    if (file.size <= WORTH_FOLLOWING || this.#followed >= MOST_FOLLOWED) return undefined;
    this.#followed += 1;
    const judging = judgeComing(file, arrival);
    void judging.fits.then(() => {
      this.#followed -= 1;
    });
    return judging;
  }

  /** What is cut off by the end says nothing. */
  #noteDisk(error: unknown): void {
    if (!this.#ended) this.#options.health.noteDisk(error);
  }
}
