import type { Share } from './shares.ts';

/**
 * A budget that shares draw on: bytes of memory, log lines.
 *
 * Each share may hold at most `generosity` times what is still free, times its weight (dynamic thresholds, as in
 * switches: Choudhury and Hahne, 1998). One share alone thus gets most of it, and something is always left for
 * one that comes later: nothing need be taken back from anybody before it is served. The more shares draw, the
 * closer they come to equal parts.
 */
export class FairBudget {
  readonly #capacity: number;
  readonly #generosity: number;
  readonly #byShare = new Map<string, number>();
  #held = 0;

  /** @param capacity all there is. @param generosity 8 leaves a ninth free under one that takes all it may. */
  constructor(capacity: number, generosity: number) {
    this.#capacity = capacity;
    this.#generosity = generosity;
  }

  /** What all hold. */
  get held(): number {
    return this.#held;
  }

  heldBy({ name }: Share): number {
    return this.#byShare.get(name) ?? 0;
  }

  /** How much `share` may draw now; 0 or less: nothing. */
  room(share: Share): number {
    const free = this.#capacity - this.#held;
    return Math.min(free, this.#generosity * share.weight * free - this.heldBy(share));
  }

  /** Draws, whether there is room or not: who asks `room` first decides what no room means. */
  take({ name }: Share, amount: number): void {
    this.#held += amount;
    this.#byShare.set(name, (this.#byShare.get(name) ?? 0) + amount);
  }

  give({ name }: Share, amount: number): void {
    this.#held -= amount;
    const left = (this.#byShare.get(name) ?? 0) - amount;
    if (left <= 0) this.#byShare.delete(name);
    else this.#byShare.set(name, left);
  }
}
