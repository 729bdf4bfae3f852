import { codeOf, IoError } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import { HttpAnswer } from '../../serve/http/http-answer.ts';
import { type Act, recordAct } from '../../store/log.ts';
import { openStateWhenFree } from '../../store/state.ts';
import type { ApiDesk } from './api-desk.ts';

/** Writes that may wait for their turn. */
const MOST_WAITING = 32;

/**
 * The writes of one server, one after the other: what the second one finds is what the first one made. Other processes are
 * kept apart by the lock of the state.
 */
export class Writer {
  readonly #desk: ApiDesk;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(desk: ApiDesk) {
    this.#desk = desk;
  }

  /** @throws HttpAnswer 503 where too many wait, or somebody could not do it; what `work` throws. */
  async inTurn<T>(work: (state: string) => Promise<T>): Promise<T> {
    const { state, log } = this.#desk;
    if (state === undefined)
      throw new Refusal(
        'forbidden',
        'This server serves a tree without a state: nothing can be changed by it.',
      );
    if (this.#waiting >= MOST_WAITING) throw later('Too many requests wait to be done; try again.');
    this.#waiting += 1;
    const turn = this.#last.then(() => work(state));
    this.#last = turn.catch(() => {});
    try {
      return await turn;
    } catch (error) {
      if (!(error instanceof IoError)) throw error;
      log.error({ err: error }, 'something that was asked for by the API could not be done');
      throw later(
        error.code === 'EWOULDBLOCK'
          ? 'Somebody else writes to the state at this moment; try again.'
          : 'It could not be done now, or nobody knows whether it was; the log of the server says why.',
      );
    } finally {
      this.#waiting -= 1;
    }
  }
}

function later(message: string): HttpAnswer {
  return new HttpAnswer(503, message, { 'Retry-After': '1' });
}

/**
 * What needs no key this server does itself, where nobody signs for it and the state is its own to write: the entry of the
 * log waits for a signature.
 *
 * @returns undefined where the state is somebody else's.
 */
export async function byOneself<T>(
  state: string,
  work: (record: (act: Act) => Promise<unknown>) => Promise<T>,
): Promise<{ readonly done: T } | undefined> {
  try {
    const opened = await openStateWhenFree(state);
    try {
      return { done: await work((act) => recordAct(state, act)) };
    } finally {
      await opened.release();
    }
  } catch (error) {
    if (error instanceof IoError && ['EACCES', 'EPERM', 'EROFS'].includes(codeOf(error) ?? ''))
      return undefined;
    throw error;
  }
}
