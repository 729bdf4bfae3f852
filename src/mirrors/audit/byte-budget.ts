import { Refusal } from '../../errors/refusal.ts';

/** Bytes that all mirrors together may send. */
export class ByteBudget {
  readonly #limit: number;
  #taken = 0;

  /** @param limit bytes; `Infinity` is none. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Throws a `Refusal` (`too-large`, with the fact `budget`) where there is none left. */
  demand(): void {
    if (this.#taken < this.#limit) return;
    throw new Refusal(
      'too-large',
      `The ${this.#limit} bytes that this audit may read are read; what is left was not looked at.`,
      { budget: this.#limit },
    );
  }

  take(octets: number): void {
    this.#taken += octets;
    if (this.#taken > this.#limit) this.demand();
  }
}
