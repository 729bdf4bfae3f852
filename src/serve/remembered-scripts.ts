import type { BootScript } from '../machines/booter.ts';

/** Milliseconds that a loader has from its script to the seal. */
const LONGEST = 60_000;
/** Loaders between the two at one time; whoever came first is forgotten first. */
const MOST = 4096;
/** Characters of an address and its query. */
const LONGEST_KEY = 2048;

/**
 * A script and its seal are asked for by two requests, and what a machine gets may change between them: a channel moves,
 * a machine is armed. Whoever was given a script is given the seal of that very one.
 */
export class RememberedScripts {
  readonly #now: () => number;
  readonly #given = new Map<string, { readonly script: BootScript; readonly at: number }>();

  /** @param now milliseconds of a monotonic clock. */
  constructor(now: () => number) {
    this.#now = now;
  }

  given(key: string, script: BootScript): void {
    if (key.length > LONGEST_KEY) return;
    this.#given.delete(key);
    this.#given.set(key, { script, at: this.#now() });
    const [oldest] = this.#given.keys();
    if (this.#given.size > MOST && oldest !== undefined) this.#given.delete(oldest);
  }

  /** What was given to whoever asks now; undefined where that is long ago, or never was. */
  find(key: string): BootScript | undefined {
    const found = this.#given.get(key);
    return found && this.#now() - found.at <= LONGEST ? found.script : undefined;
  }
}
