/**
 * Counts what happens thousands of times a second until somebody reads the numbers: to find a series by its labels takes a
 * microsecond each time, and here it is found once for each reading.
 */
export class Tally<K> {
  readonly #counted = new Map<K, number>();
  readonly #write: (key: K, amount: number) => void;

  /** @param write adds to the series of a key. */
  constructor(write: (key: K, amount: number) => void) {
    this.#write = write;
  }

  add(key: K, amount = 1): void {
    this.#counted.set(key, (this.#counted.get(key) ?? 0) + amount);
  }

  /** Writes what was counted since the last time. */
  settle(): void {
    for (const [key, amount] of this.#counted) this.#write(key, amount);
    this.#counted.clear();
  }
}
