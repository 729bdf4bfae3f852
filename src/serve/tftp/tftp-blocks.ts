import { Refusal } from '../../errors/refusal.ts';
import type { OpenResource } from '../../release/site.ts';
import { type ChunkPool, LARGEST, SMALLEST } from '../chunk-pool.ts';
import type { Share } from '../shares.ts';

interface Chunk {
  readonly buffer: Buffer;
  /** Bytes of the file in `buffer`. */
  readonly length: number;
}

/**
 * A file as one run of bytes, handed out block by block.
 *
 * It is read in chunks that begin small and grow to 1 MiB: most of what is asked for over TFTP fits into the
 * first, and a client that never comes back should not hold a mebibyte. While one chunk is handed out the
 * next is read, so that a lock-step transfer almost never waits for the disk.
 */
export class BlockReader {
  readonly #open: OpenResource;
  readonly #pool: ChunkPool;
  readonly #share: Share;
  readonly #size: number;
  #chunk: Chunk | undefined;
  /** Bytes of `#chunk` that were handed out. */
  #taken = 0;
  /** The chunk after `#chunk`, until it is wanted. */
  #ahead: Promise<Chunk> | undefined;
  /** The last read that was begun; there is never more than one under way. */
  #reading: Promise<Chunk> | undefined;
  /** Position in the file of the byte after those read or being read. */
  #position = 0;
  #wanted = SMALLEST;
  #released = false;

  /** @param share of the client, whose memory it is. @param size bytes of the file. */
  constructor(open: OpenResource, pool: ChunkPool, share: Share, size: number) {
    this.#open = open;
    this.#pool = pool;
    this.#share = share;
    this.#size = size;
  }

  /**
   * Copies the next `length` bytes into `into` at `offset`, at once where they are in memory.
   *
   * @returns false where they are not: await `load` and ask again.
   */
  take(into: Buffer, offset: number, length: number): boolean {
    const chunk = this.#chunk;
    if (chunk === undefined || chunk.length - this.#taken < length) return false;
    chunk.buffer.copy(into, offset, this.#taken, this.#taken + length);
    this.#taken += length;
    return true;
  }

  /**
   * Copies the next `length` bytes, waiting for the disk.
   *
   * @throws Refusal (`drifted`) where the file is shorter than it was.
   */
  async load(into: Buffer, offset: number, length: number): Promise<void> {
    let at = offset;
    const end = offset + length;
    while (at < end) {
      const left = (this.#chunk?.length ?? 0) - this.#taken;
      if (left === 0) {
        await this.#next();
        continue;
      }
      const piece = Math.min(left, end - at);
      this.take(into, at, piece);
      at += piece;
    }
  }

  /** Gives every buffer back; resolves when no read is under way any more. Never rejects. */
  async release(): Promise<void> {
    this.#released = true;
    this.#drop();
    const ahead = this.#ahead;
    this.#ahead = undefined;
    try {
      const chunk = await this.#reading;
      // Where `load` is the one that waits for it, `load` gives it back.
      if (chunk !== undefined && ahead !== undefined) this.#pool.give(chunk.buffer, this.#share);
    } catch {
      // Nobody waits for these bytes any more.
    }
  }

  async #next(): Promise<void> {
    this.#drop();
    const ahead = this.#ahead ?? this.#begin();
    this.#ahead = undefined;
    const chunk = await ahead;
    if (this.#released) {
      this.#pool.give(chunk.buffer, this.#share);
      throw new Refusal('unreachable', 'The transfer ended while its file was being read.');
    }
    this.#chunk = chunk;
    if (this.#position >= this.#size) return;
    this.#ahead = this.#begin();
    // `#next` or `release` sees the failure; until then it is not an unhandled one.
    this.#ahead.catch(() => {});
  }

  #begin(): Promise<Chunk> {
    this.#reading = this.#read();
    return this.#reading;
  }

  async #read(): Promise<Chunk> {
    const position = this.#position;
    const left = this.#size - position;
    const buffer = this.#pool.take(Math.min(this.#wanted, left), this.#share);
    this.#wanted = Math.min(this.#wanted * 4, LARGEST);
    const room = Math.min(buffer.length, left);
    this.#position += room;
    try {
      let length = 0;
      // A chunk is filled to its end: what follows it is perhaps being read already.
      while (length < room) {
        const count = await this.#open.read(buffer.subarray(length, room), position + length);
        if (count <= 0 || count > room - length) {
          throw new Refusal('drifted', 'The file is shorter than it was when it was verified.', { position });
        }
        length += count;
      }
      return { buffer, length };
    } catch (error) {
      this.#pool.give(buffer, this.#share);
      throw error;
    }
  }

  #drop(): void {
    if (this.#chunk !== undefined) this.#pool.give(this.#chunk.buffer, this.#share);
    this.#chunk = undefined;
    this.#taken = 0;
  }
}
