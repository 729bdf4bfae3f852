import { Refusal } from '../errors/refusal.ts';
import type { OpenResource } from '../release/site.ts';
import { type ChunkPool, LARGEST, SMALLEST } from './chunk-pool.ts';
import type { Share } from './shares.ts';

/** A client that needs longer for one chunk is slow: nothing is read ahead for it. Milliseconds. */
const SLOW_MS = 250;

/** Bytes of a file in a buffer of the pool. Whoever got it gives it back. */
export interface Chunk {
  readonly buffer: Buffer;
  /** The part of `buffer` that holds bytes of the file. */
  readonly bytes: Buffer;
  /** Position of the byte after the last. */
  readonly end: number;
}

/**
 * Reads a file at the pace at which one client takes it.
 *
 * Chunks begin small, so that a client that never reads costs little, and grow fourfold as they leave
 * quickly. At full size the next chunk is read while the last one leaves; as soon as a client turns out to
 * be slow, what was read ahead is given up again and chunks are small.
 */
export class ChunkReader {
  readonly #open: OpenResource;
  readonly #pool: ChunkPool;
  readonly #share: Share;
  #wanted = SMALLEST;
  #ahead: Promise<Chunk> | undefined;

  /** @param share of the client, whose memory it is. */
  constructor(open: OpenResource, pool: ChunkPool, share: Share) {
    this.#open = open;
    this.#pool = pool;
    this.#share = share;
  }

  /**
   * The bytes from `position`, at most to `last` (inclusive).
   *
   * @throws Refusal (`drifted`) where the file ends before `last`.
   */
  next(position: number, last: number): Promise<Chunk> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    return ahead ?? this.#read(position, last);
  }

  /** Begins to read what `next` will be asked for, where the client is fast enough. */
  readAhead(position: number, last: number): void {
    if (this.#wanted < LARGEST || position > last) return;
    this.#ahead = this.#read(position, last);
    // `next` or `release` sees the failure; until then it is not an unhandled one.
    this.#ahead.catch(() => {});
  }

  /** Waits for a chunk to leave and takes its time. */
  async pace(written: Promise<void>): Promise<void> {
    let slow = false;
    const timer = setTimeout(() => {
      slow = true;
      void this.release();
    }, SLOW_MS);
    try {
      await written;
    } finally {
      clearTimeout(timer);
      this.#wanted = slow ? SMALLEST : Math.min(this.#wanted * 4, LARGEST);
    }
  }

  /** Gives up what was read ahead; resolves when no read is under way any more. Never rejects. */
  async release(): Promise<void> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    try {
      const chunk = await ahead;
      if (chunk !== undefined) this.#pool.give(chunk.buffer, this.#share);
    } catch {
      // The same bytes are read again when they are wanted, and fail again where someone listens.
    }
  }

  async #read(position: number, last: number): Promise<Chunk> {
    const left = last - position + 1;
    const buffer = this.#pool.take(Math.min(this.#wanted, left), this.#share);
    try {
      const room = buffer.subarray(0, Math.min(buffer.length, left));
      const count = await this.#open.read(room, position);
      if (count <= 0 || count > room.length) {
        throw new Refusal('drifted', 'The file is shorter than it was when it was verified.', { position });
      }
      return { buffer, bytes: room.subarray(0, count), end: position + count };
    } catch (error) {
      this.#pool.give(buffer, this.#share);
      throw error;
    }
  }
}
