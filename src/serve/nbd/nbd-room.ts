import { SMALLEST } from '../chunk-pool.ts';
import type { MemoryWaiter, ReplyChunk, ReplyMemory } from './nbd-memory.ts';

/** Bytes of the largest piece of a long reply. */
const PIECE = 256 * 1024;
/**
 * Bytes that pieces of one connection hold at most: more would have left the processor's cache when they leave.
 * With one piece more a second-level cache of 1 MiB loses a third of the speed; with one less, a tenth.
 */
const AHEAD = 3 * PIECE;

/** The memory in which one connection's replies wait for their client. */
export class ReplyRoom {
  readonly #memory: ReplyMemory;
  readonly #most: number;
  readonly #waiter: MemoryWaiter;
  /** Where small replies are put together. */
  #arena: ReplyChunk | undefined;
  #held = 0;
  /** Bytes that pieces of long replies hold. */
  #ahead = 0;

  /**
   * @param most bytes.
   * @param waiter is told where there is none because of others; what this one holds it will give up itself.
   */
  constructor(memory: ReplyMemory, most: number, waiter: MemoryWaiter) {
    this.#memory = memory;
    this.#most = Math.max(most, SMALLEST);
    this.#waiter = waiter;
  }

  /** Bytes that it holds. */
  get held(): number {
    return this.#held;
  }

  /** A chunk with `bytes` (at most 64 KiB) behind `used`, for one part more; undefined where there is none now. */
  small(bytes: number): ReplyChunk | undefined {
    if (this.#arena === undefined || this.#arena.used + bytes > this.#arena.buffer.length) {
      const chunk = this.#obtain(SMALLEST);
      if (chunk === undefined) return undefined;
      this.#arena = chunk;
    }
    this.#arena.parts += 1;
    return this.#arena;
  }

  /** A chunk for one piece of what has `left` bytes more; undefined where there is none now. */
  piece(left: number): ReplyChunk | undefined {
    if (this.#ahead >= AHEAD) return undefined;
    const chunk = this.#obtain(left <= SMALLEST ? SMALLEST : PIECE);
    if (chunk === undefined) return undefined;
    chunk.long = true;
    chunk.parts = 1;
    this.#ahead += chunk.buffer.length;
    return chunk;
  }

  /** One part of `chunk` less. */
  release(chunk: ReplyChunk | undefined): void {
    if (chunk === undefined) return;
    chunk.parts -= 1;
    if (chunk.parts > 0) return;
    if (chunk === this.#arena) this.#arena = undefined;
    if (chunk.long) this.#ahead -= chunk.buffer.length;
    this.#held -= chunk.buffer.length;
    this.#memory.give(chunk);
  }

  /** Waits for nothing any more. */
  end(): void {
    this.#memory.forget(this.#waiter);
  }

  #obtain(wanted: number): ReplyChunk | undefined {
    const left = this.#most - this.#held;
    if (left < SMALLEST) return undefined;
    const chunk = this.#memory.take(Math.min(wanted, left), this.#waiter);
    if (chunk !== undefined) this.#held += chunk.buffer.length;
    return chunk;
  }
}
