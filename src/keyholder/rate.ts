/** How many requests of one account are heard: a burst, and then one more every so many milliseconds. */
export interface Rate {
  readonly burst: number;
  readonly everyMs: number;
}

/** Each request is two entries of a log that only grows; a timer that renews sixty channels a day needs no more. */
export const RATE: Rate = { burst: 60, everyMs: 10_000 };

/** A bucket of tokens for each account. Only those who may ask get one, so there are few. */
export class RateLimit {
  readonly #rate: Rate;
  readonly #now: () => number;
  readonly #buckets = new Map<number, { tokens: number; at: number }>();

  /** @param now milliseconds of a monotonic clock. */
  constructor(rate: Rate, now: () => number) {
    this.#rate = rate;
    this.#now = now;
  }

  /** Takes a token; else answers in how many milliseconds there is one. */
  take(uid: number): { readonly waitMs: number } | undefined {
    const { burst, everyMs } = this.#rate;
    const now = this.#now();
    const bucket = this.#buckets.get(uid) ?? { tokens: burst, at: now };
    this.#buckets.set(uid, bucket);
    bucket.tokens = Math.min(burst, bucket.tokens + Math.max(0, now - bucket.at) / everyMs);
    bucket.at = now;
    if (bucket.tokens < 1) return { waitMs: Math.ceil((1 - bucket.tokens) * everyMs) };
    bucket.tokens -= 1;
    return undefined;
  }

  /** What was taken for something that is not counted. */
  giveBack(uid: number): void {
    const bucket = this.#buckets.get(uid);
    if (bucket) bucket.tokens = Math.min(this.#rate.burst, bucket.tokens + 1);
  }
}
