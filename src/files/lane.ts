import { Worker } from 'node:worker_threads';
import type { FromWorker, ToWorker } from './measure-worker.ts';
import type { Answer, Question } from './measurer.ts';

/** One hashing thread. Kept for the life of the process and reused: starting one costs about 30 ms. */
class Lane {
  readonly #worker = new Worker(new URL('./measure-worker.js', import.meta.url));
  #onMessage: (message: FromWorker) => void = () => {};
  #onError: (error: Error) => void = () => {};

  constructor() {
    this.#worker.on('message', (message: FromWorker) => this.#onMessage(message));
    this.#worker.on('error', (error: Error) => this.#onError(error));
    // Idle threads must not keep the process alive.
    this.#worker.unref();
  }

  begin(
    questions: readonly Question[],
    slots: readonly SharedArrayBuffer[],
    onDone: (slot: number) => void,
    onError: (error: Error) => void,
  ): void {
    this.#worker.ref();
    this.#onError = onError;
    this.#onMessage = (message) => {
      if (message.done === 'update') onDone(message.slot);
    };
    this.#post({ do: 'begin', questions, slots });
  }

  update(slot: number, length: number): void {
    this.#post({ do: 'update', slot, length });
  }

  end(): Promise<readonly Answer[]> {
    return new Promise((resolve, reject) => {
      this.#onError = reject;
      this.#onMessage = (message) => {
        if (message.done === 'end') resolve(message.answers);
      };
      this.#post({ do: 'end' });
    });
  }

  release(): void {
    this.#worker.unref();
    idle.push(this);
  }

  /** Ends the thread: for a lane that was left in mid-file. */
  stop(): void {
    void this.#worker.terminate();
  }

  #post(message: ToWorker): void {
    this.#worker.postMessage(message);
  }
}

const idle: Lane[] = [];

/** Takes a lane out of the pool; the caller gives it back with `release()`. */
export function takeLane(): Lane {
  return idle.pop() ?? new Lane();
}

/** Whether there is one that need not be started. */
export function hasIdleLane(): boolean {
  return idle.length > 0;
}

/** Starts lanes for somebody who is soon going to take them: they start while he does something else. */
export function startLanes(count: number): void {
  while (idle.length < count) idle.push(new Lane());
}

export type { Lane };
