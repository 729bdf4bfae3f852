import { setTimeout } from 'node:timers/promises';

/** Bytes a second that several transfers share: each waits until what it took is due. */
export class RateLimit {
  readonly #perSecond: number;
  /** When all that was taken so far may have passed; milliseconds of the monotonic clock. */
  #due = 0;

  /** @param perSecond bytes; undefined: no limit. */
  constructor(perSecond: number | undefined) {
    this.#perSecond = perSecond ?? Number.POSITIVE_INFINITY;
  }

  /** Counts bytes that have arrived; resolves when the next may be read. @throws what aborts the signal. */
  async taken(octets: number, signal?: AbortSignal): Promise<void> {
    if (this.#perSecond === Number.POSITIVE_INFINITY) return;
    const now = performance.now();
    this.#due = Math.max(this.#due, now) + (octets / this.#perSecond) * 1000;
    const wait = this.#due - now;
    if (wait > 1) await setTimeout(wait, undefined, signal ? { signal } : {});
  }
}
