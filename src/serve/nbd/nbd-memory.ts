import { ChunkPool, SMALLEST } from '../chunk-pool.ts';

/** A buffer that replies are put together in; several of them where they are small. */
export class ReplyChunk {
  readonly buffer: Buffer;
  readonly view: DataView;
  /** Bytes that were handed out. */
  used = 0;
  /** True where it holds a piece of a long reply. */
  long = false;
  /** Parts of replies that have not left yet. */
  parts = 0;
  /** True where a write that was cut off may still hold it: it is never used again. */
  cut = false;

  constructor(buffer: Buffer) {
    this.buffer = buffer;
    this.view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
  }
}

/** Someone who was refused memory. */
export interface MemoryWaiter {
  /** There is some again; ask once more. */
  resume(): void;
}

/**
 * What the replies of all connections are kept in until their clients have taken them.
 *
 * There is never more of it than the budget: a connection that would need more waits its turn, and since it
 * then takes no further requests, its client does too. Those that do not take their replies could hold all of
 * it; `onPressure` is called for as long as someone waits, every `patienceMs`.
 */
export class ReplyMemory {
  readonly #pool: ChunkPool;
  readonly #budget: number;
  readonly #patienceMs: number;
  readonly #onPressure: () => void;
  readonly #waiting = new Set<MemoryWaiter>();
  #waking = false;
  #pressure: NodeJS.Timeout | undefined;

  constructor(budget: number, patienceMs: number, onPressure: () => void) {
    this.#pool = new ChunkPool(budget);
    this.#budget = budget;
    this.#patienceMs = patienceMs;
    this.#onPressure = onPressure;
  }

  /** Bytes that replies hold now. */
  get held(): number {
    return this.#pool.held;
  }

  /** How many wait. */
  get waiting(): number {
    return this.#waiting.size;
  }

  /** A chunk of about `wanted` bytes; undefined where there is none now, and `waiter` is told when there is. */
  take(wanted: number, waiter: MemoryWaiter): ReplyChunk | undefined {
    if (!this.#hasRoom()) {
      this.#waiting.add(waiter);
      this.#pressure ??= setInterval(this.#onPressure, this.#patienceMs);
      return undefined;
    }
    return new ReplyChunk(this.#pool.take(wanted));
  }

  give(chunk: ReplyChunk): void {
    if (chunk.cut) this.#pool.drop(chunk.buffer);
    else this.#pool.give(chunk.buffer);
    this.#wake();
  }

  /** `waiter` is gone. */
  forget(waiter: MemoryWaiter): void {
    this.#waiting.delete(waiter);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#pressure);
    this.#pressure = undefined;
  }

  #hasRoom(): boolean {
    return this.#pool.held + SMALLEST <= this.#budget;
  }

  /** Once for many chunks, and never from within another connection's work. */
  #wake(): void {
    if (this.#waking || this.#waiting.size === 0) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      for (const waiter of [...this.#waiting]) {
        if (!this.#hasRoom()) return;
        this.forget(waiter);
        waiter.resume();
      }
    });
  }
}
