import { FairBudget } from '../serve/fair-budget.ts';
import type { Share } from '../serve/shares.ts';

/** Boots that may begin in a minute. One share alone gets two thirds. */
const BEGUN = 2000;
const BEGUN_MS = 60_000;

/** How many boots may begin: a flood of invented machines begins its part, and those of others are still followed. */
export class Beginnings {
  readonly #now: () => number;
  readonly #budget = new FairBudget(BEGUN, 2);
  /** The oldest first. */
  readonly #begun: { readonly at: number; readonly share: Share }[] = [];

  /** @param now milliseconds of a monotonic clock. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Whether one more of a share's may begin; then it has. */
  take(share: Share): boolean {
    const now = this.#now();
    let over = 0;
    for (const { at, share: whose } of this.#begun) {
      if (at > now - BEGUN_MS) break;
      this.#budget.give(whose, 1);
      over += 1;
    }
    if (over > 0) this.#begun.splice(0, over);
    if (this.#budget.room(share) < 1) return false;
    this.#budget.take(share, 1);
    this.#begun.push({ at: now, share });
    return true;
  }
}
