import type { Refusal } from '../../errors/refusal.ts';

/** Milliseconds until what was refused is tried again: longer each time. */
const FIRST_PAUSE = 5_000;
const LONGEST_PAUSE = 600_000;

interface Failure {
  readonly refusal: Refusal;
  readonly pause: number;
  readonly until: number;
}

/** What turned out not to be what was promised, for as long as that is the last that is known of it. */
export class Failures<Key> {
  readonly #known = new Map<Key, Failure>();
  readonly #monotonic: () => number;

  /** @param monotonic milliseconds. */
  constructor(monotonic: () => number) {
    this.#monotonic = monotonic;
  }

  get size(): number {
    return this.#known.size;
  }

  of(key: Key): Refusal | undefined {
    return this.#known.get(key)?.refusal;
  }

  /** Throws what is known, unless it is time to try again. */
  demand(key: Key): void {
    const known = this.#known.get(key);
    if (known && this.#monotonic() < known.until) throw known.refusal;
  }

  /** @returns whether it is news. */
  add(key: Key, refusal: Refusal): boolean {
    const before = this.#known.get(key);
    const pause = Math.min(LONGEST_PAUSE, before ? before.pause * 2 : FIRST_PAUSE);
    this.#known.set(key, { refusal, pause, until: this.#monotonic() + pause });
    return before?.refusal.message !== refusal.message;
  }

  /** @returns whether there was one. */
  clear(key: Key): boolean {
    return this.#known.delete(key);
  }
}
