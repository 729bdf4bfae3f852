import { IoError } from '../errors/io.ts';
import type { Log } from '../serve/event-log.ts';

/** Milliseconds that a machine in the middle of its boot waits for an answer. */
const PATIENCE = 3_000;
/** Milliseconds for which nobody is asked again, once there was none. */
const PAUSE = 5_000;

/**
 * Asks a store that may be away, on behalf of machines that do not wait long: one that did not answer is not asked again
 * for a while.
 */
export class Away {
  readonly #log: Log;
  #until = Number.NEGATIVE_INFINITY;
  #fault: IoError | undefined;

  constructor(log: Log) {
    this.#log = log;
  }

  /** @throws IoError where there is no answer, or was none a moment ago; what was asked throws. */
  async ask<T>(question: () => Promise<T>): Promise<T> {
    if (this.#fault && performance.now() < this.#until) throw this.#fault;
    let timer: NodeJS.Timeout | undefined;
    const silence = new Promise<never>((_, reject) => {
      timer = setTimeout(
        () => reject(new IoError('The store does not answer.', 'armed', undefined)),
        PATIENCE,
      );
    });
    try {
      const answer = await Promise.race([question(), silence]);
      this.#fault = undefined;
      return answer;
    } catch (error) {
      if (error instanceof IoError) this.#note(error);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #note(error: IoError): void {
    this.#until = performance.now() + PAUSE;
    if (!this.#fault)
      this.#log.error(
        { err: error },
        'nobody can tell who is armed: other machines get what they usually boot',
      );
    this.#fault = error;
  }
}
