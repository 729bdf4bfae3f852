/** Lets many wait for the next step of something. */
export class Waiters {
  #wake: (() => void) | undefined;
  #next: Promise<void> | undefined;

  /** Resolves at the next step. */
  next(): Promise<void> {
    this.#next ??= new Promise((resolve) => {
      this.#wake = resolve;
    });
    return this.#next;
  }

  wake(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    this.#next = undefined;
    wake?.();
  }
}
