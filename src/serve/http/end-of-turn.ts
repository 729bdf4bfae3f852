/**
 * What is done at the end of a turn of the event loop, one after the other. Answers that leave so wake whoever waits for
 * several of them once, by the first: a wake-up from one processor to another costs as much as a small answer. One that is
 * alone waits for nobody.
 */
export class EndOfTurn {
  #waiting: (() => void)[] = [];

  /** @param failed told of what `work` throws; it must not throw. */
  add(work: () => void, failed: (error: unknown) => void): void {
    if (this.#waiting.length === 0) setImmediate(() => this.#do());
    this.#waiting.push(() => {
      try {
        work();
      } catch (error) {
        failed(error);
      }
    });
  }

  #do(): void {
    const all = this.#waiting;
    this.#waiting = [];
    for (const work of all) work();
  }
}
