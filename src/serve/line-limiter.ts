import { FairBudget } from './fair-budget.ts';
import type { Share } from './shares.ts';

/** Milliseconds over which lines are counted, and how many may be written in them. */
const WINDOW_MS = 10_000;
const LINES = 600;
/** One share that floods alone gets two thirds. */
const GENEROSITY = 2;
/** Shares whose lines are counted by name; the rest is counted together. */
const MOST_NAMED = 256;

/** What was not written. */
export interface LeftOut {
  readonly lines: number;
  /** Shares that they are of, as far as they were told apart. */
  readonly shares: number;
  /** Whose most of them are. */
  readonly most: string;
  readonly linesOfMost: number;
}

/**
 * How many lines anybody can have written into the log: a flood fills no disk, and one who floods does not keep the
 * lines of others out. What was left out is counted, and told when the time it is counted for is over.
 */
export class LineLimiter {
  readonly #now: () => number;
  readonly #budget = new FairBudget(LINES, GENEROSITY);
  /** When lines were written, oldest first, and whose they were. */
  readonly #written: { readonly at: number; readonly share: Share }[] = [];
  readonly #leftOut = new Map<string, number>();
  #lines = 0;
  #since = Number.NEGATIVE_INFINITY;

  /** @param now milliseconds of a monotonic clock. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** True where a line about `share` may be written; else it is counted. */
  mayWrite(share: Share): boolean {
    const now = this.#now();
    let over = 0;
    for (const { at, share: whose } of this.#written) {
      if (at > now - WINDOW_MS) break;
      this.#budget.give(whose, 1);
      over += 1;
    }
    if (over > 0) this.#written.splice(0, over);
    if (this.#budget.room(share) >= 1) {
      this.#budget.take(share, 1);
      this.#written.push({ at: now, share });
      return true;
    }
    if (this.#lines === 0) this.#since = now;
    this.#lines += 1;
    const name = this.#leftOut.size < MOST_NAMED || this.#leftOut.has(share.name) ? share.name : 'others';
    this.#leftOut.set(name, (this.#leftOut.get(name) ?? 0) + 1);
    return false;
  }

  /** What was left out and not told yet, once it is time to tell; `all`: in any case. */
  tell(all = false): LeftOut | undefined {
    if (this.#lines === 0 || (!all && this.#now() - this.#since < WINDOW_MS)) return undefined;
    const [most = '', linesOfMost = 0] = [...this.#leftOut].reduce((one, other) =>
      other[1] > one[1] ? other : one,
    );
    const told = { lines: this.#lines, shares: this.#leftOut.size, most, linesOfMost };
    this.#leftOut.clear();
    this.#lines = 0;
    return told;
  }
}
