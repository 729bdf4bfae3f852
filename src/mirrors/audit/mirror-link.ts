import { Refusal } from '../../errors/refusal.ts';
import type { WebAnswer, WebClient, WebRequest } from '../web-client.ts';
import type { ByteBudget } from './byte-budget.ts';
import type { ConnectionSlots } from './connection-slots.ts';

export interface LinkOptions {
  readonly client: WebClient;
  readonly slots: ConnectionSlots;
  readonly budget: ByteBudget;
  /** Bytes a second that a mirror must send, on the whole. */
  readonly slowRate: number;
  /** Milliseconds of waiting before a mirror is called slow. */
  readonly slowAfterMs: number;
  /** Milliseconds, monotonic. */
  readonly monotonic: () => number;
}

export interface MirrorAnswer extends Omit<WebAnswer, 'body'> {
  readonly body: MirrorBody;
}

export interface MirrorBody extends AsyncIterable<Uint8Array> {
  next(): Promise<IteratorResult<Uint8Array>>;
  /** Gives it up, and its connection. */
  return(): Promise<IteratorResult<Uint8Array>>;
}

/** One mirror: what is asked of it passes here, and is counted. */
export class MirrorLink {
  /** Ends in a slash. */
  readonly base: string;
  readonly #options: LinkOptions;
  readonly #host: string;
  #bytes = 0;
  #waitedMs = 0;
  #requests = 0;

  /** @param url of the folder that holds `channels` and `releases`. @throws Refusal `malformed` for what is no address. */
  constructor(url: URL, options: LinkOptions) {
    this.base = url.href;
    this.#host = url.host;
    this.#options = options;
  }

  /** Bytes of content that came. */
  get bytes(): number {
    return this.#bytes;
  }

  get requests(): number {
    return this.#requests;
  }

  /** Milliseconds that were spent waiting for it. */
  get waitedMs(): number {
    return this.#waitedMs;
  }

  /** Asks for a file by its path below the mirror. The body must be read or given up: until then a connection is held. */
  async get(path: string, asked: WebRequest = {}): Promise<MirrorAnswer> {
    const { client, slots, budget } = this.#options;
    budget.demand();
    const release = await slots.take(this.#host);
    let answer: WebAnswer | undefined;
    try {
      this.#requests += 1;
      const url = this.base + path.split('/').map(encodeURIComponent).join('/');
      answer = await this.#waitFor(client.get(url, asked));
      if (answer.type === 'text/html' && !/\.html?$/.test(path))
        throw new Refusal('malformed', `${url} is answered with a page of HTML.`, {});
      this.#demandRate();
      return { ...answer, body: this.#counted(answer.body, release) };
    } catch (error) {
      await answer?.body.return(undefined);
      release();
      if (!(error instanceof Refusal)) throw error;
      throw new Refusal(error.code, error.message, { ...error.facts, file: path }, { cause: error });
    }
  }

  /** A small file, whole. @param limit bytes. @throws Refusal `too-large`, `absent`, `unreachable`. */
  async small(path: string, limit: number): Promise<Uint8Array> {
    const { body, size = 0 } = await this.get(path);
    const pieces: Uint8Array[] = [];
    let octets = 0;
    try {
      if (size > limit) throw longer(path, limit);
      for await (const piece of body) {
        octets += piece.length;
        if (octets > limit) throw longer(path, limit);
        pieces.push(piece);
      }
    } finally {
      await body.return();
    }
    return Buffer.concat(pieces);
  }

  /** No generator: one that was never begun would not hear that it is given up, and keep its connection. */
  #counted(body: WebAnswer['body'], release: () => void): MirrorBody {
    const end = async (): Promise<IteratorResult<Uint8Array>> => {
      try {
        return await body.return(undefined);
      } finally {
        release();
      }
    };
    const counted: MirrorBody = {
      next: async () => {
        try {
          const piece = await this.#waitFor(body.next());
          if (piece.done) return await end();
          this.#bytes += piece.value.length;
          this.#demandRate();
          this.#options.budget.take(piece.value.length);
          return piece;
        } catch (error) {
          await end();
          throw error;
        }
      },
      return: end,
      [Symbol.asyncIterator]: () => counted,
    };
    return counted;
  }

  /** Only time spent waiting counts: who hashes makes nobody look slow. */
  async #waitFor<T>(pending: Promise<T>): Promise<T> {
    const { monotonic } = this.#options;
    const since = monotonic();
    try {
      return await pending;
    } finally {
      this.#waitedMs += monotonic() - since;
    }
  }

  #demandRate(): void {
    const { slowRate, slowAfterMs } = this.#options;
    const rate = Math.floor((this.#bytes / this.#waitedMs) * 1000);
    if (this.#waitedMs <= slowAfterMs || rate >= slowRate) return;
    throw new Refusal(
      'unreachable',
      `${this.base} sends ${rate} bytes a second, and ${slowRate} are the least that is waited for.`,
      { url: this.base, slow: true, rate },
    );
  }
}

function longer(path: string, limit: number): Refusal {
  return new Refusal('too-large', `${path} is longer than the ${limit} bytes it may have.`, {
    file: path,
    limit,
  });
}
