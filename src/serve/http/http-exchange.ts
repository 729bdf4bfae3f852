import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Refusal } from '../../errors/refusal.ts';
import type { HttpEnding, HttpEvent } from './http-types.ts';

/** The other side is no longer there to be answered. Not an error: clients come and go. */
export class Gone extends Error {
  constructor() {
    super('the connection closed before the response was complete');
    this.name = 'Gone';
  }
}

/**
 * One request and its answer: what is known about it for events and logs, and the way bytes leave.
 *
 * Node's own signals are not enough here: a write to a socket that was destroyed under it never calls back.
 * So every wait on the client also ends with the response's `close`.
 */
export class Exchange {
  readonly id: number;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly remote: string;
  readonly method: string;
  /** The safe path, or why there is none. */
  readonly target: string | Refusal;
  readonly query: URLSearchParams;
  /** Bytes of content that the kernel took. */
  bytes = 0;
  /** Why the answer is not what was asked for. */
  refusal: Refusal | undefined;
  /** Set before the connection is destroyed from this side. */
  ending: HttpEnding | undefined;

  readonly #begun = performance.now();
  #abort: AbortController | undefined;
  #over = false;
  #interrupt: ((error: Error) => void) | undefined;

  constructor(
    id: number,
    req: IncomingMessage,
    res: ServerResponse,
    remote: string,
    target: string | Refusal,
  ) {
    this.id = id;
    this.req = req;
    this.res = res;
    this.remote = remote;
    this.method = req.method ?? '';
    this.target = target;
    const url = req.url ?? '';
    const query = url.indexOf('?');
    this.query = new URLSearchParams(query === -1 ? '' : url.slice(query + 1));
    res.once('close', () => {
      this.#over = true;
      this.#abort?.abort();
      this.#interrupt?.(new Gone());
    });
  }

  get path(): string | undefined {
    return typeof this.target === 'string' ? this.target : undefined;
  }

  /** Aborted when the response is over, either way. */
  get signal(): AbortSignal {
    // Made on demand: aborting constructs an exception, which costs more than a small file.
    this.#abort ??= new AbortController();
    if (this.#over) this.#abort.abort();
    return this.#abort.signal;
  }

  /**
   * Writes bytes, at least one, and waits until the kernel has taken them all.
   *
   * @throws Gone
   */
  write(...pieces: readonly Uint8Array[]): Promise<void> {
    return this.#waitFor(pieces, (done) => {
      for (const [index, piece] of pieces.entries()) {
        if (index === pieces.length - 1) this.res.write(piece, done);
        else this.res.write(piece);
      }
    });
  }

  /**
   * Ends the response and waits until the kernel has taken all of it.
   *
   * @throws Gone
   */
  end(bytes?: Uint8Array): Promise<void> {
    return this.#waitFor(bytes === undefined ? [] : [bytes], (done) => {
      if (bytes === undefined || bytes.length === 0) this.res.end(done);
      else this.res.end(bytes, done);
    });
  }

  /** Cuts the response off, so that the client sees fewer bytes than it was promised. */
  cut(ending: HttpEnding): void {
    this.ending ??= ending;
    this.res.destroy();
  }

  /** What happened, once the response has closed. */
  finished(): HttpEvent {
    const complete = this.res.writableFinished;
    return {
      kind: 'finished',
      id: this.id,
      remote: this.remote,
      method: this.method,
      path: this.path,
      status: this.res.headersSent ? this.res.statusCode : 0,
      bytes: this.bytes,
      durationMs: performance.now() - this.#begun,
      ending: complete ? 'complete' : (this.ending ?? 'client-gone'),
      refusal: this.refusal,
    };
  }

  /** Counts the bytes where Node calls back: the response may close before a waiting function goes on. */
  #waitFor(
    pieces: readonly Uint8Array[],
    start: (done: (error?: Error | null) => void) => void,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#over) {
        reject(new Gone());
        return;
      }
      this.#interrupt = reject;
      start((error) => {
        this.#interrupt = undefined;
        if (error) {
          reject(new Gone());
          return;
        }
        for (const piece of pieces) this.bytes += piece.length;
        resolve();
      });
    });
  }
}
