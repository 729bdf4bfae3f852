import { FairBudget } from './fair-budget.ts';
import type { Share } from './shares.ts';

/** Bytes. */
export const SMALLEST = 64 * 1024;
export const LARGEST = 1024 * 1024;
const SIZES = [SMALLEST, 4 * SMALLEST, LARGEST] as const;

/** Idle buffers kept of each size: eight downloads at full speed allocate nothing. */
const KEPT = 16;
/** One share that takes all it may leaves a ninth of the memory to those who come later. */
const GENEROSITY = 8;

/**
 * Buffers for chunks on their way from a file to a socket.
 *
 * A buffer belongs to its response from `take` until the kernel has taken the bytes (the write's
 * callback): filling it earlier would send one machine another's bytes. `give` puts it back for reuse;
 * `drop`, for a write that was cut off and may still hold it, only stops counting it.
 *
 * Clients that stop reading keep one chunk each. So that a thousand of them cannot keep a thousand
 * mebibytes, chunks shrink as what their share may hold is used up: no chunk is larger than a sixteenth of what
 * is left of it. Chunks of other shares stay large.
 */
export class ChunkPool {
  readonly #budget: FairBudget;
  readonly #idle = new Map<number, Buffer[]>(SIZES.map((size) => [size, []]));

  /** @param budget bytes that all chunks together may hold before they are as small as they get. */
  constructor(budget: number) {
    this.#budget = new FairBudget(budget, GENEROSITY);
  }

  /** Bytes in buffers that were taken and not yet returned. */
  get held(): number {
    return this.#budget.held;
  }

  heldBy(share: Share): number {
    return this.#budget.heldBy(share);
  }

  /** True where a chunk more of `share` is within the budget. */
  hasRoom(share: Share): boolean {
    return this.#budget.room(share) >= SMALLEST;
  }

  /** A buffer of about `wanted` bytes: 64 KiB, 256 KiB or 1 MiB, by what the budget allows. */
  take(wanted: number, share: Share): Buffer {
    const allowed = Math.min(wanted, this.#budget.room(share) / 16);
    const size = SIZES.findLast((each) => each <= allowed) ?? SMALLEST;
    this.#budget.take(share, size);
    return this.#idle.get(size)?.pop() ?? Buffer.allocUnsafeSlow(size);
  }

  /** Returns a buffer that nobody else holds any more. */
  give(buffer: Buffer, share: Share): void {
    this.drop(buffer, share);
    const idle = this.#idle.get(buffer.length);
    if (idle !== undefined && idle.length < KEPT) idle.push(buffer);
  }

  /** Gives up a buffer that a cut-off write may still hold: it is never used again. */
  drop(buffer: Buffer, share: Share): void {
    this.#budget.give(share, buffer.length);
  }
}
