import type { Manifest, ManifestFile } from '../formats/records/manifest.ts';
import { download } from './download.ts';
import type { MirrorPool } from './mirror-pool.ts';
import type { MirrorTree } from './mirror-tree.ts';
import { RateLimit } from './rate-limit.ts';
import type { Staging } from './staging.ts';

/** How files are fetched. */
export interface PayloadOptions {
  /** Files at once; default 4. */
  readonly parallel?: number;
  /** Bytes a second, all files together; default: no limit. */
  readonly limitRate?: number;
  /** Milliseconds before a mirror that failed is asked again; default 1000. */
  readonly pauseMs?: number;
  readonly signal?: AbortSignal;
  /** Bytes that are here, of all that have to be. */
  readonly onProgress?: (done: number, total: number) => void;
  /** One line on what happens on the way. */
  readonly onNote?: (text: string) => void;
}

/** Rounds over all mirrors. */
const ROUNDS = 3;

/** The files of releases on their way here: several at once, each content once, from whichever mirror has it. */
export class PulledPayload {
  /** Files that were fetched, bytes that came, and bytes that were here from before. */
  files = 0;
  fetched = 0;
  resumed = 0;
  readonly #options: PayloadOptions;
  readonly #staging: Staging;
  readonly #pool: MirrorPool;
  readonly #limit: RateLimit;
  /** By digest: files on their way, and bytes of each that are here. */
  readonly #running = new Map<string, Promise<string>>();
  readonly #here = new Map<string, number>();
  /** Files that were whole before this pull, by digest. */
  readonly #found = new Map<string, string>();
  #done = 0;
  #total = 0;

  constructor(options: PayloadOptions, staging: Staging, pool: MirrorPool) {
    this.#options = options;
    this.#staging = staging;
    this.#pool = pool;
    this.#limit = new RateLimit(options.limitRate);
  }

  /** Whether something that was here before this pull is another content by now: then that was refused, and no mirror's. */
  async forgetRotten({ files }: Manifest): Promise<boolean> {
    let found = false;
    for (const file of files) {
      const place = this.#found.get(file.sha256);
      if (place === undefined || (await this.#staging.isSound(file, place))) continue;
      this.#options.onNote?.(`${place} is not what it was any more: ${file.path} is fetched again.`);
      this.#found.delete(file.sha256);
      found = true;
    }
    return found;
  }

  /** Fetches every file of a release, and says the tree where each is. @throws what kept one from being had. */
  async fetch(tree: MirrorTree, { files }: Manifest): Promise<void> {
    const waiting = [...files];
    for (const { sha256, size } of files) {
      if (!this.#here.has(sha256)) this.#total += size;
      this.#count(sha256, 0);
    }
    // Where one cannot be had, no more are begun; those on their way go on where the next pull finds them.
    const faults: unknown[] = [];
    const work = async () => {
      for (let file = waiting.shift(); file && faults.length === 0; file = waiting.shift()) {
        const { path } = file;
        await this.#file(tree, file).then(
          (place) => tree.place(path, place),
          (error: unknown) => faults.push(error),
        );
      }
    };
    await Promise.all(Array.from({ length: Math.max(1, this.#options.parallel ?? 4) }, work));
    if (faults.length > 0) throw faults[0];
  }

  /** The same content may have several names: it is fetched once. */
  #file(tree: MirrorTree, file: ManifestFile): Promise<string> {
    const { sha256 } = file;
    const running = this.#running.get(sha256);
    if (running !== undefined) return running;
    const place = this.#download(tree, file).finally(() => this.#running.delete(sha256));
    this.#running.set(sha256, place);
    return place;
  }

  async #download(tree: MirrorTree, { path, size, sha256 }: ManifestFile): Promise<string> {
    const { pauseMs = 1000, signal } = this.#options;
    this.#count(sha256, -(this.#here.get(sha256) ?? 0));
    const {
      path: place,
      fetched,
      resumed,
      found,
    } = await download(
      { key: tree.key(path), size, sha256 },
      {
        ...{ staging: this.#staging, pool: this.#pool, limit: this.#limit },
        ...{ rounds: ROUNDS, pauseMs, signal },
        onOctets: (octets) => this.#count(sha256, octets),
      },
    );
    if (found) this.#found.set(sha256, place);
    this.files += fetched > 0 ? 1 : 0;
    this.fetched += fetched;
    this.resumed += resumed;
    return place;
  }

  #count(sha256: string, octets: number): void {
    this.#here.set(sha256, (this.#here.get(sha256) ?? 0) + octets);
    this.#done += octets;
    this.#options.onProgress?.(this.#done, this.#total);
  }
}
