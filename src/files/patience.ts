/**
 * How long a receiver waits for a sender.
 *
 * Only time spent waiting counts: a consumer that takes long over each piece (it hashes, it writes to
 * flash) must not make the sender look slow. The clock is monotonic and measures only this.
 */
export class Patience {
  readonly #windowMs: number;
  readonly #minimum: number;
  #waitedMs = 0;
  #octets = 0;

  /** @param minimum bytes that must arrive in each `windowMs` milliseconds of waiting. */
  constructor(windowMs: number, minimum: number) {
    this.#windowMs = windowMs;
    this.#minimum = minimum;
  }

  /** Waits for `next`; calls `giveUp`, which must make `next` reject, when the window ends first. */
  async wait<T>(next: Promise<T>, giveUp: () => void): Promise<T> {
    const since = performance.now();
    const timer = setTimeout(giveUp, Math.max(1, this.#windowMs - this.#waitedMs));
    try {
      return await next;
    } finally {
      clearTimeout(timer);
      this.#waitedMs += performance.now() - since;
    }
  }

  /** Counts what arrived; enough of it opens a new window. */
  arrived(octets: number): void {
    this.#octets += octets;
    if (this.#octets < this.#minimum) return;
    this.#octets = 0;
    this.#waitedMs = 0;
  }
}
