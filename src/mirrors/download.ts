import { createHash, type Hash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { Refusal } from '../errors/refusal.ts';
import type { MirrorPool } from './mirror-pool.ts';
import type { FileSource } from './mirror-source.ts';
import type { RateLimit } from './rate-limit.ts';
import type { Part, PromisedFile, Staging } from './staging.ts';

export interface WantedFile extends PromisedFile {
  /** In the mirror. */
  readonly key: string;
  /**
   * Where no digest and no length were signed, says of a whole file whether it holds, by a `Refusal`. `sha256` is then
   * nothing but its name among what has arrived, and `size` the most that it may have.
   */
  readonly judge?: (path: string) => Promise<void>;
}

export interface DownloadOptions {
  readonly staging: Staging;
  readonly pool: MirrorPool<FileSource>;
  readonly limit: RateLimit;
  /** Rounds over all mirrors before a file is given up. */
  readonly rounds: number;
  /** Milliseconds before the second round; twice as many before each that follows. */
  readonly pauseMs: number;
  readonly signal?: AbortSignal | undefined;
  /** Bytes of this file that are here, of what a mirror sent or of what was here before. */
  readonly onOctets: (octets: number) => void;
}

export interface Downloaded {
  readonly path: string;
  /** Bytes that a mirror sent just now. */
  readonly fetched: number;
  /** Bytes that an earlier pull had left. */
  readonly resumed: number;
  /** It was whole before. */
  readonly found: boolean;
}

/**
 * Brings one file here, from whichever mirror has it: hashed while it arrives, never longer than was signed, and from
 * where it stopped when a mirror goes away in the middle, or a pull before this one did. A mirror that gave a whole file
 * which is not what was signed is dropped; of one that several gave parts of, nobody can say whose fault it is, and the
 * last of them is asked for all of it: else one that begins each file with a wrong byte would spoil what others send.
 *
 * @throws Refusal where no mirror has it; IoError.
 */
export async function download(file: WantedFile, options: DownloadOptions): Promise<Downloaded> {
  const { staging, pool, rounds, pauseMs, signal, onOctets } = options;
  const there = file.judge ? undefined : await staging.find(file);
  if (there !== undefined) {
    onOctets(file.size);
    return { path: there, fetched: 0, resumed: 0, found: true };
  }
  const part = await staging.part(file);
  try {
    const arrival = await Arrival.of(part, file);
    const resumed = arrival.octets;
    onOctets(resumed);
    let last: Refusal | undefined;
    for (let round = 0; round < rounds && pool.sources.length > 0; round += 1) {
      if (round > 0) await setTimeout(pauseMs * 2 ** (round - 1), undefined, signal ? { signal } : {});
      for (const source of pool.sources) {
        if (!pool.isActive(source)) continue;
        try {
          await arrival.whole(source, options);
          return { path: await part.finish(), fetched: arrival.fetched, resumed, found: false };
        } catch (error) {
          signal?.throwIfAborted();
          if (!(error instanceof Refusal)) throw error;
          last = error;
          pool.judge(source, error);
        }
      }
    }
    throw last ?? new Refusal('unreachable', `No mirror is left that could be asked for ${file.key}.`, {});
  } finally {
    await part.close();
  }
}

/** What has arrived of a file so far, over all mirrors. */
class Arrival {
  readonly #part: Part;
  readonly #file: WantedFile;
  #hash: Hash = createHash('sha256');
  /** Whose bytes they are; an earlier pull does not say. */
  #givers = new Set<FileSource | 'before'>();
  octets = 0;
  fetched = 0;

  private constructor(part: Part, file: WantedFile) {
    this.#part = part;
    this.#file = file;
  }

  /** Goes on where an earlier pull stopped: what it left is hashed first. */
  static async of(part: Part, file: WantedFile): Promise<Arrival> {
    const arrival = new Arrival(part, file);
    const length = await part.length();
    if (length > file.size) await part.truncate(0);
    else if (length > 0) {
      for await (const piece of part.content(length)) {
        arrival.#hash.update(piece);
        arrival.octets += piece.length;
      }
      arrival.#givers.add('before');
    }
    return arrival;
  }

  /** Whatever others left, this mirror alone can finish it, and is judged by what is its own alone. @throws Refusal */
  async whole(source: FileSource, options: DownloadOptions): Promise<void> {
    if (!(await this.#from(source, options))) await this.#from(source, options);
  }

  /** False: it is not what was signed, by what others gave before this mirror; nothing of it is here any more. */
  async #from(source: FileSource, { pool, limit, signal, onOctets }: DownloadOptions): Promise<boolean> {
    const { key, sha256, judge } = this.#file;
    const size = judge ? await source.size(key, this.#file.size) : this.#file.size;
    if (this.octets > size) await this.#begin(onOctets);
    if (this.octets < size || size === 0) {
      const { first, content } = await source.open(key, this.octets, size, signal);
      // A mirror that knows no ranges sends it whole.
      if (first !== this.octets) await this.#begin(onOctets);
      this.#givers.add(source);
      for await (const piece of content) {
        await this.#part.write(piece, this.octets);
        this.#hash.update(piece);
        this.octets += piece.length;
        this.fetched += piece.length;
        pool.arrived(source, piece.length);
        onOctets(piece.length);
        await limit.taken(piece.length, signal);
      }
      if (this.octets < size)
        throw new Refusal(
          'unreachable',
          `${source.name} ends ${key} after ${this.octets} of ${size} bytes.`,
          { key, size },
        );
    }
    const refusal = judge ? await refusalOf(judge(this.#part.path)) : undefined;
    if (!refusal && (judge || this.#hash.copy().digest('hex') === sha256)) return true;
    const mixed = this.#givers.size > 1 || this.#givers.has('before');
    await this.#begin(onOctets);
    if (mixed) return false;
    throw new Refusal(
      'drifted',
      `${source.name} gives another ${key} than the one that was signed${refusal ? `: ${refusal.message}` : '.'}`,
      { key },
      refusal ? { cause: refusal } : {},
    );
  }

  async #begin(onOctets: (octets: number) => void): Promise<void> {
    onOctets(-this.octets);
    await this.#part.truncate(0);
    this.#hash = createHash('sha256');
    this.#givers = new Set();
    this.octets = 0;
  }
}

async function refusalOf(judging: Promise<void>): Promise<Refusal | undefined> {
  try {
    await judging;
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
