import type { Share, Shares } from '../../serve/shares.ts';

/** Tries that a usual share may fail at once, and how long it takes until it has one more. */
const BURST = 20;
const REFILL_MS = 2000;
/** Shares that are told apart. */
const MOST = 4096;

interface Bucket {
  /** Tries that are left; a fraction is one that comes. */
  readonly left: number;
  /** Milliseconds of the monotonic clock. */
  readonly at: number;
}

/**
 * How often somebody may show a token that is none: a bucket for each share, so that nobody's guessing keeps others out.
 * Nobody guesses 256 bits; this bounds the work and the lines in the log.
 */
export class FailedTries {
  readonly #shares: Shares;
  readonly #now: () => number;
  /** Who failed last stands last. */
  readonly #buckets = new Map<string, Bucket>();

  /** @param now milliseconds of a monotonic clock. */
  constructor(shares: Shares, now: () => number) {
    this.#shares = shares;
    this.#now = now;
  }

  /** Shares that are kept in mind. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Whole seconds until an address may try again; 0: now. */
  waitOf(address: string): number {
    const share = this.#shares.of(address);
    const left = this.#left(share);
    return left >= 1 ? 0 : Math.max(1, Math.ceil(((1 - left) * REFILL_MS) / share.weight / 1000));
  }

  /** An address has failed once more. */
  count(address: string): void {
    const share = this.#shares.of(address);
    const left = this.#left(share) - 1;
    this.#buckets.delete(share.name);
    if (this.#buckets.size >= MOST) this.#forget();
    this.#buckets.set(share.name, { left, at: this.#now() });
  }

  #left({ name, weight }: Share): number {
    const most = BURST * weight;
    const bucket = this.#buckets.get(name);
    if (bucket === undefined) return most;
    return Math.min(most, bucket.left + ((this.#now() - bucket.at) * weight) / REFILL_MS);
  }

  /** The one that failed the longest ago is the nearest to being full. */
  #forget(): void {
    const [oldest] = this.#buckets.keys();
    if (oldest !== undefined) this.#buckets.delete(oldest);
  }
}
