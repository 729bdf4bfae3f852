import type { FileHandle } from 'node:fs/promises';
import { Refusal } from '../../errors/refusal.ts';
import { demandSameFile, identityOf, onlyRelinked } from '../../files/file-identity.ts';
import { openRegular } from '../../files/measure.ts';
import { reading } from '../../files/reading.ts';
import { fileResource } from '../../release/file-resource.ts';
import type { PinnedFile } from '../../release/pin.ts';
import type { PromisedFile } from '../../release/promised-file.ts';
import type { OpenResource, Resource, Use } from '../../release/site.ts';
import { Arrivals } from './arrivals.ts';
import { CacheFolder, removeFile } from './cache-folder.ts';
import { CacheHealth } from './cache-health.ts';
import { CachedImage, type VerifyBlock } from './cached-image.ts';
import { DirectReading } from './direct-reading.ts';
import { Failures } from './failures.ts';
import { ImageReading } from './image-reading.ts';
import { judgeCached } from './judged-file.ts';
import { type Lease, leasedReading } from './lease.ts';
import { inPatience, noRoom } from './patience.ts';
import { type ContentSource, isUnreachable, openWanted } from './source.ts';

/** What happened, for the log and for counting. */
export interface CacheEvents {
  /** A file is not what was promised, and is not served. */
  refused(file: PromisedFile, refusal: Refusal): void;
  /** It is again. */
  restored(file: PromisedFile): void;
  /** So much came from the store. Bytes. */
  fetched(bytes: number): void;
  /** A file was asked for: it was here, or was not. */
  asked(hit: boolean): void;
  /** What the cache had of a file was changed on this disk; it is fetched again. */
  lost(file: PromisedFile, refusal: Refusal): void;
}

export interface ContentCacheOptions {
  readonly source: ContentSource;
  /** Undefined: a temporary one. */
  readonly folder?: string | undefined;
  /** Bytes. */
  readonly most: number;
  readonly events: CacheEvents;
  /** Milliseconds. */
  readonly monotonic?: () => number;
}

/**
 * Content that lies elsewhere, on this machine for as long as there is room. Nothing leaves before it turned out to be what a
 * verified manifest says: a file as a whole, by its digest and then by every seal, or a part of an image by its hash tree.
 * What many ask for at the same time is fetched once.
 */
export class ContentCache {
  readonly #source: ContentSource;
  readonly #folder: CacheFolder;
  readonly #events: CacheEvents;
  readonly #health: CacheHealth;
  readonly #arrivals: Arrivals;
  /** By digest: in the cache as they were hashed by this process. */
  readonly #whole = new Map<string, PinnedFile>();
  readonly #judged = new WeakSet<PromisedFile>();
  /** Of which content with their digest is known to fit every seal, wherever it lies. */
  readonly #fitting = new WeakSet<PromisedFile>();
  readonly #judging = new Map<PromisedFile, Promise<PinnedFile>>();
  readonly #images = new Map<PromisedFile, CachedImage>();
  readonly #bad: Failures<string>;
  readonly #unsealed: Failures<PromisedFile>;

  private constructor(folder: CacheFolder, { source, events, monotonic }: ContentCacheOptions) {
    this.#folder = folder;
    this.#source = source;
    this.#events = events;
    const clock = monotonic ?? (() => performance.now());
    this.#health = new CacheHealth(clock);
    this.#bad = new Failures(clock);
    this.#unsealed = new Failures(clock);
    this.#arrivals = new Arrivals({
      ...{ folder, source, health: this.#health },
      asking: (file, asked) => this.#asking(file, asked),
      onFetched: (file, fits) => {
        events.fetched(file.size);
        if (fits) this.#fitting.add(file);
      },
      settle: (file, handle, name) => this.#settle(file, handle, name),
      // What was written is read once more before it is handed out of the cache: begun while nobody waits for it yet.
      onSettled: (file) => void this.#ensure(file).catch(() => {}),
    });
  }

  /** Throws as `CacheFolder.open`. */
  static async open(options: ContentCacheOptions): Promise<ContentCache> {
    return new ContentCache(await CacheFolder.open(options.folder, options.most), options);
  }

  /** Bytes: what it holds, and what it may. */
  get room(): { readonly bytes: number; readonly most: number; readonly files: number } {
    return { bytes: this.#folder.bytes, most: this.#folder.most, files: this.#folder.size };
  }

  /** What an operator should know: one sentence each. */
  get warnings(): readonly string[] {
    return this.#health.warnings;
  }

  /** Why a file is not served, as far as is known; undefined while it is, or nobody has asked for it. */
  refusalOf(file: PromisedFile): Refusal | undefined {
    return this.#bad.of(file.sha256) ?? this.#unsealed.of(file);
  }

  /** Files that are in the cache whole, for who reads them again from time to time. */
  get files(): Iterable<PinnedFile> {
    return this.#whole.values();
  }

  /** @param verify holds a block against the hash tree, where there is one. */
  resource(file: PromisedFile, verify?: VerifyBlock): Resource {
    const { size, sha256, name } = file;
    return {
      ...{ size, sha256, name, immutable: true },
      open: (use = 'parts') => this.open(file, use, verify),
    };
  }

  /** Throws as `Resource.open`. */
  async open(file: PromisedFile, use: Use, verify?: VerifyBlock): Promise<OpenResource> {
    this.#demand(file);
    const here = this.#isHere(file);
    if (use !== 'nothing') this.#events.asked(here);
    if (here || file.size === 0) return this.#openHere(file);
    if (use === 'nothing') return this.#openNothing(file);
    if (use === 'parts' && verify) return this.openImage(file, verify);
    // What an earlier process left has to be hashed before, whoever asks.
    if (use === 'parts' || this.#folder.get(file.sha256)) return this.#openHere(file);
    return this.#openComing(file);
  }

  /** An image of which parts are read: each is fetched when it is asked for. */
  openImage(file: PromisedFile, verify: VerifyBlock): ImageReading {
    const image = this.#images.get(file) ?? this.#imageOf(file, verify);
    this.#images.set(file, image);
    return new ImageReading(file, image, () => this.#leaseIfHere(file));
  }

  /**
   * A file that stays in the cache while it is held; fetched where it is not there, and judged.
   *
   * @throws Refusal `drifted` and what else its seals say, `unreachable`.
   */
  async lease(file: PromisedFile): Promise<Lease> {
    this.#demand(file);
    // It may be given up between being here and being held: room is short then, and that is said.
    for (let tries = 0; tries < 3; tries += 1) {
      await this.#ensure(file);
      const lease = this.#leaseIfHere(file);
      if (lease) return lease;
    }
    throw noRoom(file, 'there is no room in the cache of this server');
  }

  /** Reads of what comes end with a failure; a temporary folder is removed. */
  async end(): Promise<void> {
    await this.#arrivals.end();
    for (const image of this.#images.values()) await image.end();
    await this.#folder.end();
  }

  #demand(file: PromisedFile): void {
    this.#bad.demand(file.sha256);
    this.#unsealed.demand(file);
  }

  #isHere(file: PromisedFile): boolean {
    return this.#judged.has(file) && this.#whole.has(file.sha256);
  }

  #leaseIfHere(file: PromisedFile): Lease | undefined {
    const { sha256 } = file;
    const pinned = this.#whole.get(sha256);
    const held = this.#folder.get(sha256);
    if (!pinned || !held || !this.#judged.has(file)) return undefined;
    held.users += 1;
    this.#folder.touch(sha256);
    let over = false;
    return {
      // The very one: what a scrub finds out about it has to count here.
      file: pinned,
      release: () => {
        if (!over) held.users -= 1;
        over = true;
      },
    };
  }

  async #openHere(file: PromisedFile): Promise<OpenResource> {
    for (let tries = 1; ; tries += 1) {
      const lease = await inPatience(file, this.lease(file));
      try {
        const open = await fileResource(lease.file).open();
        return leasedReading(lease, open, (refusal) => this.#lose(file, refusal));
      } catch (error) {
        lease.release();
        if (!(error instanceof Refusal)) throw error;
        await this.#lose(file, error);
        if (tries > 1) throw error;
      }
    }
  }

  async #openNothing(file: PromisedFile): Promise<OpenResource> {
    const content = await this.#asking(file, openWanted(this.#source, file));
    return {
      read: async () => {
        throw new RangeError('it was opened for nothing');
      },
      check: async () => {},
      close: () => content.close(),
    };
  }

  async #openComing(file: PromisedFile): Promise<OpenResource> {
    const coming = await this.#arrivals.come(file);
    if (!coming) return new DirectReading(file, await this.#asking(file, openWanted(this.#source, file)));
    const { arrival, held, done } = coming;
    // Its file may be closed already.
    if (arrival.failed) return this.#openComing(file);
    arrival.use();
    held.users += 1;
    let fromDisk = false;
    return {
      read: async (buffer, position) => {
        const there = await arrival.recall(buffer, position);
        if (there !== undefined) return there;
        fromDisk = true;
        return arrival.read(buffer, position);
      },
      // The last bytes wait for this: what came this way is what was promised, every seal fits, and what was read on this
      // disk is still what was judged, whoever had it judged.
      check: async () => {
        await done;
        // The very bytes that were hashed, and they fit: whatever the disk made of them.
        if (!fromDisk && this.#fitting.has(file)) return;
        const { identity } = await this.#ensure(file);
        const now = await reading(arrival.path, undefined, () => arrival.handle.stat({ bigint: true }));
        try {
          demandSameFile(file.name, identity, identityOf(now));
        } catch (error) {
          if (error instanceof Refusal && identity.ino === now.ino) await this.#lose(file, error);
          throw error;
        }
      },
      close: async () => {
        held.users -= 1;
        await arrival.close();
      },
    };
  }

  /** Resolves when a file is in the cache, whole and judged. */
  #ensure(file: PromisedFile): Promise<PinnedFile> {
    const pinned = this.#whole.get(file.sha256);
    if (pinned && this.#judged.has(file)) return Promise.resolve(pinned);
    const judging = this.#judging.get(file) ?? this.#judge(file).finally(() => this.#judging.delete(file));
    this.#judging.set(file, judging);
    return judging;
  }

  async #judge(file: PromisedFile): Promise<PinnedFile> {
    for (let tries = 1; ; tries += 1) {
      const pinned = this.#whole.get(file.sha256) ?? this.#left(file) ?? (await this.#fetched(file));
      const seen = await judgeCached(file, pinned, this.#fitting.has(file));
      if (seen === undefined)
        await this.#lose(
          file,
          new Refusal('drifted', `${file.name} is gone from the cache.`, { path: file.name }),
        );
      if (seen === undefined && tries > 2) throw noRoom(file, 'there is no room in the cache of this server');
      if (seen === undefined) continue;
      if (seen.sha256 === file.sha256) {
        if (seen.refusal === undefined) {
          this.#whole.set(file.sha256, seen.pinned);
          this.#fitting.add(file);
          this.#judged.add(file);
          const restored = [this.#bad.clear(file.sha256), this.#unsealed.clear(file)].includes(true);
          if (restored) this.#events.restored(file);
          return seen.pinned;
        }
        // The content is what was promised, and a seal of it does not fit: that is about this release alone.
        if (this.#unsealed.add(file, seen.refusal)) this.#events.refused(file, seen.refusal);
        throw seen.refusal;
      }
      const { refusal = noRoom(file, 'its cache gives back other bytes than it was given') } = seen;
      await this.#lose(file, refusal);
      if (tries > 2) throw refusal;
    }
  }

  /** What an earlier process left under that name. Its identity is what it has now: it is read from end to end before use. */
  #left({ sha256, size, name }: PromisedFile): PinnedFile | undefined {
    if (!this.#folder.get(sha256)) return undefined;
    const identity = { dev: -1n, ino: -1n, size: BigInt(size), mtimeNs: -1n, ctimeNs: -1n };
    return { path: this.#folder.pathOf(sha256), name, size, sha256, identity };
  }

  async #fetched(file: PromisedFile): Promise<PinnedFile> {
    const coming = await this.#arrivals.come(file);
    if (coming) return coming.done;
    throw noRoom(file, this.#whyNoRoom(file));
  }

  #whyNoRoom({ size }: PromisedFile): string {
    const { most } = this.#folder;
    return size > most
      ? `the cache of this server has ${most} bytes and the file ${size}; give it a larger one`
      : 'the cache of this server has no room for it now';
  }

  /** Gives a file that is whole its name. */
  async #settle(file: PromisedFile, handle: FileHandle, name: string): Promise<PinnedFile> {
    const { sha256, size } = file;
    const path = this.#folder.pathOf(sha256);
    return reading(path, undefined, async () => {
      const before = identityOf(await handle.stat({ bigint: true }));
      await this.#folder.drop(sha256);
      await this.#folder.rename(name, sha256, () => this.#drop(sha256));
      const identity = identityOf(await handle.stat({ bigint: true }));
      if (!onlyRelinked(before, identity)) demandSameFile(file.name, before, identity);
      const pinned = { path, name: file.name, size, sha256, identity };
      this.#whole.set(sha256, pinned);
      return pinned;
    });
  }

  async #drop(sha256: string): Promise<void> {
    this.#whole.delete(sha256);
    await removeFile(this.#folder.pathOf(sha256));
  }

  /** What this machine has of a file is not what it was: it is fetched again. */
  async #lose(file: PromisedFile, refusal: Refusal): Promise<void> {
    if (!this.#folder.get(file.sha256) && !this.#whole.has(file.sha256)) return;
    this.#events.lost(file, refusal);
    this.#whole.delete(file.sha256);
    await this.#folder.drop(file.sha256);
  }

  #imageOf(file: PromisedFile, verify: VerifyBlock): CachedImage {
    return new CachedImage({
      ...{ file, verify, folder: this.#folder, source: this.#source },
      onRefused: (refusal) => this.#refuse(file, refusal),
      onFetched: (bytes, wrong) => {
        this.#health.storeAnswered();
        this.#events.fetched(bytes);
        if (!wrong && this.#bad.clear(file.sha256)) this.#events.restored(file);
      },
      onWhole: async (name) => {
        const { handle } = await openRegular(this.#folder.pathOf(name), file.name);
        try {
          const held = this.#folder.get(name);
          if (held) held.users = 0;
          await this.#settle(file, handle, name);
          await this.#ensure(file);
        } catch {
          // What is wrong with it was said; its blocks go on being fetched one by one.
          await this.#folder.drop(name);
        } finally {
          await handle.close().catch(() => {});
        }
      },
    });
  }

  #refuse(file: PromisedFile, refusal: Refusal): void {
    if (isUnreachable(refusal)) return;
    if (this.#bad.add(file.sha256, refusal)) this.#events.refused(file, refusal);
  }

  /** Notes what the store said to a question. */
  async #asking<T>(file: PromisedFile, asked: Promise<T>): Promise<T> {
    try {
      const answer = await asked;
      this.#health.storeAnswered();
      return answer;
    } catch (error) {
      if (isUnreachable(error)) this.#health.storeIsAway(error);
      else if (error instanceof Refusal) {
        this.#health.storeAnswered();
        this.#refuse(file, error);
      }
      throw error;
    }
  }
}
