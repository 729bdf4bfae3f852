import { ChunkPool } from '../chunk-pool.ts';
import type { Share } from '../shares.ts';

/** A buffer that replies are put together in; several of them where they are small. */
export class ReplyChunk {
  readonly buffer: Buffer;
  readonly view: DataView;
  readonly share: Share;
  /** Bytes that were handed out. */
  used = 0;
  /** True where it holds a piece of a long reply. */
  long = false;
  /** Parts of replies that have not left yet. */
  parts = 0;
  /** True where a write that was cut off may still hold it: it is never used again. */
  cut = false;

  constructor(buffer: Buffer, share: Share) {
    this.buffer = buffer;
    this.view = new DataView(buffer.buffer, buffer.byteOffset, buffer.length);
    this.share = share;
  }
}

/** Someone who was refused memory. */
export interface MemoryWaiter {
  readonly share: Share;
  /** There is some again; ask once more. */
  resume(): void;
}

/**
 * What the replies of all connections are kept in until their clients have taken them.
 *
 * There is never more of it than the budget: a connection that would need more waits its turn, and since it
 * then takes no further requests, its client does too. The share that holds least is served first, and one that
 * comes later finds something left (`FairBudget`). Where all the same somebody has to wait, those that do not take
 * their replies give theirs up: `onPressure` is called for as long as someone waits, every `patienceMs`.
 */
export class ReplyMemory {
  readonly #pool: ChunkPool;
  readonly #patienceMs: number;
  readonly #onPressure: (neediest: Share) => void;
  /** By share, each in the order in which they came. */
  readonly #waiting = new Map<string, { readonly share: Share; readonly waiters: Set<MemoryWaiter> }>();
  #waking = false;
  #pressure: NodeJS.Timeout | undefined;

  /** @param onPressure is told the waiting share that holds least. */
  constructor(budget: number, patienceMs: number, onPressure: (neediest: Share) => void) {
    this.#pool = new ChunkPool(budget);
    this.#patienceMs = patienceMs;
    this.#onPressure = onPressure;
  }

  /** Bytes that replies hold now. */
  get held(): number {
    return this.#pool.held;
  }

  /** Bytes that the replies of a share hold, for each part of its weight. */
  load(share: Share): number {
    return this.#pool.heldBy(share) / share.weight;
  }

  /** A chunk of about `wanted` bytes; undefined where there is none now, and `waiter` is told when there is. */
  take(wanted: number, waiter: MemoryWaiter): ReplyChunk | undefined {
    const { share } = waiter;
    if (!this.#pool.hasRoom(share)) {
      const group = this.#waiting.get(share.name) ?? { share, waiters: new Set() };
      group.waiters.add(waiter);
      this.#waiting.set(share.name, group);
      this.#pressure ??= setInterval(() => this.#press(), this.#patienceMs);
      return undefined;
    }
    return new ReplyChunk(this.#pool.take(wanted, share), share);
  }

  give(chunk: ReplyChunk): void {
    if (chunk.cut) this.#pool.drop(chunk.buffer, chunk.share);
    else this.#pool.give(chunk.buffer, chunk.share);
    this.#wake();
  }

  /** `waiter` is gone. */
  forget(waiter: MemoryWaiter): void {
    const { name } = waiter.share;
    const group = this.#waiting.get(name);
    group?.waiters.delete(waiter);
    if (group?.waiters.size === 0) this.#waiting.delete(name);
    if (this.#waiting.size > 0) return;
    clearInterval(this.#pressure);
    this.#pressure = undefined;
  }

  #press(): void {
    const [neediest] = this.#inOrder();
    if (neediest !== undefined) this.#onPressure(neediest.share);
  }

  /** Those that wait, the share first that holds least. */
  #inOrder(): { readonly share: Share; readonly waiters: ReadonlySet<MemoryWaiter> }[] {
    return [...this.#waiting.values()].sort((one, other) => this.load(one.share) - this.load(other.share));
  }

  /** Once for many chunks, and never from within another connection's work. */
  #wake(): void {
    if (this.#waking || this.#waiting.size === 0) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      for (const { share, waiters } of this.#inOrder()) {
        for (const waiter of [...waiters]) {
          if (!this.#pool.hasRoom(share)) break;
          this.forget(waiter);
          waiter.resume();
        }
      }
    });
  }
}
