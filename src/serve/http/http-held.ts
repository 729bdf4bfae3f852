import type { IncomingMessage, ServerResponse } from 'node:http';
import { claimedMac } from '../../formats/net/machine-claims.ts';
import type { Asking, Outcome, ServerEvent } from '../../release/server-event.ts';
import type { Resource, Site } from '../../release/site.ts';
import { askedText, holdsToken } from '../asked.ts';
import type { Emit } from '../emit.ts';
import { type Connection, hasLeft, type Underway } from './connections.ts';
import type { EndOfTurn } from './end-of-turn.ts';
import { followsRedirects } from './follows-redirects.ts';
import { answerFile } from './http-file.ts';
import { findPage } from './http-page.ts';
import type { Pages } from './http-types.ts';
import { hostFault } from './request-host.ts';
import { safeRequestPath } from './request-path.ts';

/** What is answered at once. */
export interface HeldAnswer {
  /** The path, for events. */
  readonly asked: string;
  /** The card that the client says it has. */
  readonly mac?: string | undefined;
  /** Called once, when it is given. */
  readonly tell?: () => void;
  /** Names and values in turns. */
  readonly fields: readonly string[];
  readonly content: Uint8Array;
}

export interface HeldAnswersOptions {
  readonly site: Site;
  readonly pages: Pages;
  /** Clients that follow redirects may be sent elsewhere: those are asked about. */
  readonly steers: boolean;
}

interface Prepared {
  /** The request target, which is the path. */
  readonly target: string;
  readonly asked: string;
}

/**
 * Fields that change nothing about a whole file. Whatever is not named here goes the long way: conditions, ranges, bodies,
 * what proxies write, and what nobody has heard of.
 */
const HARMLESS: ReadonlySet<string> = new Set([
  ...['host', 'user-agent', 'accept', 'accept-encoding', 'accept-language', 'connection', 'cache-control'],
  'pragma',
]);

/**
 * The short way to an answer: a GET or HEAD of something below `/releases/` that is in memory as it was verified, whole, or of
 * a machine's script that is known without waiting, from a client that asks for nothing else. It says the same as the long
 * way, and only where the long way would say yes: no page stands there, the release has not ended, the file by its path is
 * still the one that was verified. Anything else is `undefined` here, and answered there, by its own steps and with its own
 * words.
 */
export class HeldAnswers {
  readonly #options: HeldAnswersOptions;
  /** What does not change with requests, of what was asked for. Undefined: never the short way. */
  readonly #prepared = new WeakMap<Resource, Prepared | 'never'>();
  readonly #fields = new WeakMap<Resource, readonly string[]>();

  constructor(options: HeldAnswersOptions) {
    this.#options = options;
  }

  /** @param remote who asks, where no proxy says that it is somebody else. */
  find(
    { method, url = '', httpVersion, rawHeaders }: IncomingMessage,
    remote: string,
  ): HeldAnswer | undefined {
    if ((method !== 'GET' && method !== 'HEAD') || httpVersion !== '1.1') return undefined;
    const { site, steers } = this.#options;
    const resource = site.known?.(url);
    if (resource === undefined) return this.#beginning(url, rawHeaders, remote);
    if (resource instanceof Error || resource.held === undefined) return undefined;
    const prepared = this.#prepare(resource, url);
    if (prepared?.target !== url) return undefined;
    if (!isHarmless(rawHeaders, steers || resource.elsewhere !== undefined)) return undefined;
    // Last, since nothing may come between the look at the file and its bytes.
    const content = resource.held();
    return content && { asked: prepared.asked, fields: this.#fieldsOf(resource), content };
  }

  /** A machine's script, or its seal. Each is asked for by a query of its own, of which nothing is kept. */
  #beginning(url: string, rawHeaders: readonly string[], remote: string): HeldAnswer | undefined {
    const { site, pages, steers } = this.#options;
    if (!site.begin || !BEGINNING.test(url) || !isHarmless(rawHeaders, steers)) return undefined;
    const path = safeRequestPath(url);
    if (typeof path !== 'string' || findPage(pages, path) !== undefined) return undefined;
    const at = url.indexOf('?');
    const query = new URLSearchParams(at === -1 ? '' : url.slice(at + 1));
    const begins = site.begin(path, { query, remote });
    const content = begins?.resource.held?.();
    if (!begins || content === undefined) return undefined;
    return {
      asked: askedText(at === -1 ? url : url.slice(0, at)),
      mac: claimedMac(query.get('mac')),
      fields: this.#fieldsOf(begins.resource),
      content,
      tell: () => begins.tell(),
    };
  }

  #prepare(resource: Resource, target: string): Prepared | undefined {
    const known = this.#prepared.get(resource);
    if (known !== undefined) return known === 'never' ? undefined : known;
    // The path of a file that needs no decoding, and says nothing that a log may not.
    const isPlain = safeRequestPath(target) === target && !holdsToken(target);
    if (!isPlain || findPage(this.#options.pages, target) !== undefined) {
      this.#prepared.set(resource, 'never');
      return undefined;
    }
    const prepared = { target, asked: askedText(target) };
    this.#prepared.set(resource, prepared);
    return prepared;
  }

  #fieldsOf(resource: Resource): readonly string[] {
    const known = this.#fields.get(resource);
    if (known !== undefined) return known;
    const { headers } = answerFile(resource, 'GET', NO_CONDITIONS, undefined, () => '');
    const fields = ['X-Content-Type-Options', 'nosniff', ...Object.entries(headers).flat()];
    this.#fields.set(resource, fields);
    return fields;
  }
}

/** What may be a machine's script, or its seal: all other requests are spared the look. */
const BEGINNING = /^[^?]*\/(?:boot\.ipxe|grub\.cfg)(?:\.sig)?(?:\?|$)/;

const NO_CONDITIONS = { ifMatch: undefined, ifNoneMatch: undefined, ifRange: undefined };

/** @param steers whoever follows redirects is asked about elsewhere. */
function isHarmless(rawHeaders: readonly string[], steers: boolean): boolean {
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]?.toLowerCase() ?? '';
    if (!HARMLESS.has(name)) return false;
    if (steers && name === 'user-agent' && followsRedirects(rawHeaders[index + 1]) !== undefined)
      return false;
  }
  return hostFault(rawHeaders, true) === undefined;
}

/** A response that leaves at once; it lasts only where its client does not take it. */
export class HeldResponse implements Underway {
  readonly #res: ServerResponse;
  readonly #asking: Asking;
  readonly #length: number;
  readonly #begun = performance.now();
  #hasLeft = false;
  #ending: Outcome | undefined;

  constructor(res: ServerResponse, asking: Asking, length: number, { socket }: Connection) {
    this.#res = res;
    this.#asking = asking;
    this.#length = length;
    // Before the server closes a socket that was for this response alone.
    res.prependOnceListener('finish', () => {
      this.#hasLeft = hasLeft(socket);
    });
  }

  get owed(): number {
    return this.#hasLeft ? 0 : this.#length;
  }

  cut(outcome: Outcome): void {
    this.#ending ??= outcome;
    this.#res.destroy();
  }

  /** What happened, once the response has closed. */
  finished(): ServerEvent {
    const hasLeft = this.#hasLeft;
    // Written out: a spread behind a first field is copied name by name.
    const { server, id, remote, port, method = '', asked, mac } = this.#asking;
    const ended = {
      kind: 'ended',
      server,
      id,
      remote,
      port,
      method,
      asked,
      status: this.#res.statusCode,
      bytes: hasLeft ? this.#length : 0,
      durationMs: performance.now() - this.#begun,
      outcome: hasLeft ? 'complete' : (this.#ending ?? 'client-gone'),
    } as const;
    return mac === undefined ? ended : { ...ended, mac };
  }
}

/**
 * Sends it, together with the others of this turn of the event loop.
 *
 * @param over called once, when the response has closed.
 * @param failed told of what goes wrong when it is sent.
 */
export function sendHeld(
  { method = '', socket }: IncomingMessage,
  res: ServerResponse,
  { asked, mac, fields, content, tell }: HeldAnswer,
  {
    connection,
    id,
    timeoutMs,
    turn,
  }: {
    readonly connection: Connection;
    readonly id: number;
    readonly timeoutMs: number;
    readonly turn: EndOfTurn;
  },
  emit: Emit,
  over: () => void,
  failed: (error: unknown) => void,
): void {
  const { remote, port } = connection;
  const begun = { kind: 'started', server: 'http', id, remote, port, method, asked } as const;
  const asking = mac === undefined ? begun : { ...begun, mac };
  const length = method === 'HEAD' ? 0 : content.length;
  const response = new HeldResponse(res, asking, length, connection);
  let timer: NodeJS.Timeout | undefined;
  connection.current = response;
  res.once('close', () => {
    if (timer !== undefined) clearTimeout(timer);
    over();
    emit(response.finished());
  });
  emit(asking);
  tell?.();
  turn.add(() => {
    // The connection is gone, and that was told.
    if (res.destroyed) return;
    res.writeHead(200, fields as string[]);
    if (length === 0) res.end();
    else res.end(content);
    // Most is taken at once, and nobody waits for that.
    if (socket.writableLength > 0) timer = setTimeout(() => response.cut('stalled'), timeoutMs);
  }, failed);
}
