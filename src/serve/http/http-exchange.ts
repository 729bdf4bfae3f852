import type { IncomingMessage, ServerResponse } from 'node:http';
import { Refusal } from '../../errors/refusal.ts';
import { claimedMac } from '../../formats/net/machine-claims.ts';
import type { Asking, Outcome, ServerEvent } from '../../release/server-event.ts';
import { askedText } from '../asked.ts';
import { type Connection, hasLeft } from './connections.ts';
import { HttpAnswer } from './http-answer.ts';
import type { Way } from './request-way.ts';

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
  /** For events: who asked for what. */
  readonly asking: Asking;
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly connection: Connection;
  readonly way: Way;
  readonly method: string;
  /** The safe path, or why there is none. */
  readonly target: string | Refusal;
  /** Bytes of content that the kernel took. */
  bytes = 0;
  /** Bytes of content that the response will have, as far as that is known. */
  total = 0;
  /** What was thrown where the answer is not what was asked for. */
  thrown: unknown;
  /** Set before the connection is destroyed from this side. */
  ending: Outcome | undefined;

  readonly #query: string;
  #fields: URLSearchParams | undefined;
  readonly #begun = performance.now();
  #abort: AbortController | undefined;
  #over = false;
  #hasLeft = false;
  #interrupt: ((error: Error) => void) | undefined;

  /** @param from the client's address (the peer's, or what a trusted proxy says), and by which way the request came. */
  constructor(
    id: number,
    req: IncomingMessage,
    res: ServerResponse,
    connection: Connection,
    from: { readonly remote: string; readonly way: Way },
    target: string | Refusal,
  ) {
    this.req = req;
    this.res = res;
    this.connection = connection;
    this.way = from.way;
    this.method = req.method ?? '';
    this.target = target;
    const url = req.url ?? '';
    const query = url.indexOf('?');
    this.#query = query === -1 ? '' : url.slice(query + 1);
    const mac = query === -1 ? undefined : claimedMac(this.query.get('mac'));
    this.asking = {
      server: 'http',
      id,
      remote: from.remote,
      port: connection.port,
      // One of those that the parser knows.
      method: this.method,
      // The query may hold what is nobody's business.
      asked: askedText(query === -1 ? url : url.slice(0, query)),
      ...(mac === undefined ? {} : { mac }),
    };
    // Before the server closes a socket that was for this response alone.
    res.prependOnceListener('finish', () => {
      this.#hasLeft = hasLeft(connection.socket);
    });
    res.once('close', () => {
      this.#over = true;
      this.#abort?.abort();
      this.#interrupt?.(new Gone());
    });
  }

  get query(): URLSearchParams {
    this.#fields ??= new URLSearchParams(this.#query);
    return this.#fields;
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
      const written = (error?: Error | null): void =>
        done(error ?? (hasLeft(this.connection.socket) ? null : new Gone()));
      for (const [index, piece] of pieces.entries()) {
        if (index === pieces.length - 1) this.res.write(piece, written);
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
      const ended = (): void => done(this.#hasLeft ? null : new Gone());
      if (bytes === undefined || bytes.length === 0) this.res.end(ended);
      else this.res.end(bytes, ended);
    });
  }

  /** Cuts the response off, so that the client sees fewer bytes than it was promised. */
  cut(ending: Outcome): void {
    this.ending ??= ending;
    this.res.destroy();
  }

  /** Bytes that the client asked for and has not taken. */
  get owed(): number {
    return Math.max(0, this.total - this.bytes);
  }

  /** That it was asked for. */
  begun(): ServerEvent {
    const { server, id, remote, port, asked, method = '', mac } = this.asking;
    const begun = { kind: 'started', server, id, remote, port, method, asked } as const;
    return mac === undefined ? begun : { ...begun, mac };
  }

  /** What happened, once the response has closed. */
  finished(): ServerEvent {
    const { server, id, remote, port, asked, method = '', mac } = this.asking;
    // Written out: a spread behind a first field is copied name by name.
    const ended = {
      kind: 'ended',
      server,
      id,
      remote,
      port,
      method,
      asked,
      status: this.res.headersSent ? this.res.statusCode : 0,
      bytes: this.bytes,
      durationMs: performance.now() - this.#begun,
      outcome: this.#outcome(),
    } as const;
    return mac === undefined ? ended : { ...ended, mac };
  }

  #outcome(): Outcome {
    const { thrown } = this;
    if (thrown !== undefined) {
      return thrown instanceof Refusal || thrown instanceof HttpAnswer ? 'refused' : 'failed';
    }
    return this.#hasLeft ? 'complete' : (this.ending ?? 'client-gone');
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
