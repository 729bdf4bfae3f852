import { Refusal } from '../errors/refusal.ts';
import type { Log } from '../serve/event-log.ts';
import type { Offering, OfferingSource } from './offering.ts';

/** Looks that are left out after a fault, at most: about a minute. */
const LONGEST_PAUSE = 60;

/**
 * Follows a source beside whatever else is done: a new image that takes minutes to read keeps nothing from being judged
 * meanwhile. A fault that lasts is told once, and looked at ever more seldom.
 */
export class Follower {
  readonly #source: OfferingSource;
  readonly #log: Log;
  readonly #onLoaded: (offering: Offering) => void;
  #looking: Promise<void> | undefined;
  #ended = false;
  #pause = 0;
  #skip = 0;
  readonly #every: number;
  #fault: string | undefined;

  /** @param every so many calls of `look` there is one. */
  constructor(source: OfferingSource, log: Log, every: number, onLoaded: (offering: Offering) => void) {
    this.#every = every;
    this.#source = source;
    this.#log = log;
    this.#onLoaded = onLoaded;
  }

  /** Why the state is not followed at the moment; undefined while it is. */
  get fault(): string | undefined {
    return this.#fault;
  }

  /** Begins to look, unless the last look goes on, or a fault is fresh. */
  look(): void {
    if (this.#looking !== undefined || this.#ended) return;
    if (this.#skip > 0) {
      this.#skip -= 1;
      return;
    }
    this.#looking = this.#look().finally(() => {
      this.#looking = undefined;
    });
  }

  /** Looks at once, and resolves when what was found is offered. */
  async lookNow(): Promise<void> {
    await this.#looking;
    this.#skip = 0;
    this.look();
    await this.#looking;
  }

  /** Resolves when no look is under way any more. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#looking;
  }

  async #look(): Promise<void> {
    try {
      if (await this.#source.changed()) {
        const offering = await this.#source.load();
        if (!this.#ended) this.#onLoaded(offering);
      }
      this.#pause = 0;
      this.#skip = this.#every - 1;
      this.#fault = undefined;
    } catch (error) {
      this.#pause = Math.min(LONGEST_PAUSE, this.#pause * 2 + 1);
      this.#skip = this.#pause;
      const message = error instanceof Error ? error.message : String(error);
      if (message === this.#fault) return;
      this.#fault = message;
      const facts = error instanceof Refusal ? error.toJSON() : { err: error };
      this.#log.error(facts, 'the state cannot be followed; what was offered before stays');
    }
  }
}
