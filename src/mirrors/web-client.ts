import { lookup } from 'node:dns/promises';
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import { Malformed } from '../errors/malformed.ts';
import { Refusal, type RefusalFacts } from '../errors/refusal.ts';
import { Patience } from '../files/patience.ts';
import { encodeRange, parseContentRange } from '../formats/net/range.ts';
import { type AddressKind, addressKind, isAddress, leadsInward } from './address-kind.ts';

export interface WebClientOptions {
  /** Milliseconds until a connection must stand, and within which an answer must begin. Default 15 000. */
  readonly connectTimeoutMs?: number;
  /** Milliseconds of waiting within which `minimumOctets` must arrive. Default 30 000. */
  readonly stallTimeoutMs?: number;
  /** Bytes; a byte now and then would hold a mirror for ever (TUF: slow retrieval). Default 1024. */
  readonly minimumOctets?: number;
  /** Redirects that are followed. Default 5. */
  readonly maxRedirects?: number;
  /** Redirects may lead to this machine and to private networks, wherever they come from. */
  readonly allowPrivate?: boolean;
  /** Certificates (PEM) that TLS trusts in the place of the system's. */
  readonly ca?: string | Uint8Array;
  /** Connections to one host. Default 8. */
  readonly maxConnections?: number;
  /** Connections in all. Default 256. */
  readonly maxTotalConnections?: number;
  /** What requests call their client. */
  readonly userAgent?: string;
}

export interface WebRequest {
  readonly method?: 'GET' | 'HEAD';
  /** First byte and, inclusive, last; `last` undefined: to the end. */
  readonly range?: { readonly first: number; readonly last?: number | undefined };
  readonly signal?: AbortSignal;
}

export interface WebAnswer {
  /** Where it came from in the end. */
  readonly url: string;
  /** Bytes of the body, as the server says; undefined where it does not. */
  readonly size: number | undefined;
  /** Which byte of the file the body begins with: 0 where the server sent it whole, range or not. */
  readonly first: number;
  /** Bytes of the whole file, where the server said so. */
  readonly total: number | undefined;
  /** `text/html`, without parameters; empty: not said. */
  readonly type: string;
  /** Milliseconds from the request to the answer's head. */
  readonly latencyMs: number;
  /** Nothing is read ahead; it must be read or given up by `return()`, which closes the connection. */
  readonly body: AsyncGenerator<Uint8Array>;
}

/** Longest response header, bytes. */
const MAX_HEADER = 16 * 1024;

/**
 * Fetches from web servers that nobody trusts, over HTTP/1.1 and TLS that is verified. What the bytes are is for others to
 * verify; here only the frame is judged, and each fault is a refusal that names the address:
 *
 * - `absent`: 404 and 410, and nothing else;
 * - `unreachable`: no connection, another status, an end before the end, nothing for too long, a coding nobody asked for,
 *   too many redirects, or one that leads from https to http, to another scheme, or further in than it came from;
 * - `malformed`: another part than was asked for.
 */
export class WebClient {
  readonly #options: WebClientOptions;
  readonly #agents: Readonly<Record<'http:' | 'https:', HttpAgent>>;

  constructor(options: WebClientOptions = {}) {
    this.#options = options;
    const pool = {
      keepAlive: true,
      maxSockets: options.maxConnections ?? 8,
      maxTotalSockets: options.maxTotalConnections ?? 256,
    };
    this.#agents = { 'http:': new HttpAgent(pool), 'https:': new HttpsAgent(pool) };
  }

  /** Ends the connections that wait for a next request. */
  close(): void {
    for (const agent of Object.values(this.#agents)) agent.destroy();
  }

  async get(address: string, asked: WebRequest = {}): Promise<WebAnswer> {
    const { maxRedirects = 5, allowPrivate = false } = this.#options;
    let url = webUrl(address);
    let from: AddressKind | undefined;
    for (let redirects = 0; redirects <= maxRedirects; redirects += 1) {
      const place = await this.#place(url, allowPrivate ? undefined : from);
      const begun = performance.now();
      const { req, res } = await this.#send(url, place.lookup, asked);
      // Where it was in the end: whoever names this machine beside his own address speaks from his own all the same.
      from ??= addressKind(res.socket.remoteAddress ?? place.address);
      const { location } = res.headers;
      if (![301, 302, 303, 307, 308].includes(res.statusCode ?? 0) || location === undefined)
        return this.#answer(url, req, res, asked, performance.now() - begun);
      req.destroy();
      url = redirected(url, location);
    }
    throw unreachable(url, `answers with more than ${maxRedirects} redirects`, { redirects: maxRedirects });
  }

  /** Where a host is; looked up once, so that what was judged is what is asked. */
  async #place(
    url: URL,
    from: AddressKind | undefined,
  ): Promise<{ readonly address: string; readonly lookup: LookupFunction }> {
    const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
    const found = isAddress(host)
      ? [{ address: host, family: host.includes(':') ? 6 : 4 }]
      : await lookup(host, { all: true }).catch((error: unknown) => {
          throw unreachable(url, 'has no address that could be found', {}, error);
        });
    const kinds = found.map(({ address }) => addressKind(address));
    const kind = (['loopback', 'private'] as const).find((one) => kinds.includes(one)) ?? 'public';
    if (from !== undefined && leadsInward(from, kind)) {
      const where = kind === 'loopback' ? 'this machine itself' : 'a private network';
      throw unreachable(url, `is where a redirect leads, and that is ${where}: it is not followed there`, {
        kind,
      });
    }
    const [first] = found;
    if (!first) throw unreachable(url, 'has no address');
    return {
      address: found.find((_, at) => kinds[at] === 'public')?.address ?? first.address,
      lookup: (_host, { all }, done) => (all ? done(null, found) : done(null, first.address, first.family)),
    };
  }

  #send(
    url: URL,
    found: LookupFunction,
    { method = 'GET', range, signal }: WebRequest,
  ): Promise<{ req: ClientRequest; res: IncomingMessage }> {
    const { connectTimeoutMs = 15_000, ca, userAgent = 'bootseal' } = this.#options;
    const secure = url.protocol === 'https:';
    return new Promise((resolve, reject) => {
      const options = {
        method,
        agent: this.#agents[secure ? 'https:' : 'http:'],
        lookup: found,
        maxHeaderSize: MAX_HEADER,
        insecureHTTPParser: false,
        headers: {
          // A coding would change the bytes that were sealed.
          'Accept-Encoding': 'identity',
          'User-Agent': userAgent,
          ...(range === undefined ? {} : { Range: encodeRange([{ first: range.first, last: range.last }]) }),
        },
        ...(signal === undefined ? {} : { signal }),
      };
      const req = secure
        ? httpsRequest(url, { ...options, ...(ca === undefined ? {} : { ca: Buffer.from(ca) }) })
        : httpRequest(url, options);
      const timer = setTimeout(
        () => req.destroy(unreachable(url, `does not answer within ${connectTimeoutMs} ms`)),
        connectTimeoutMs,
      );
      req.once('response', (res) => {
        clearTimeout(timer);
        resolve({ req, res });
      });
      // It stays: a request can fail again after its response has begun, which the body then reports.
      req.on('error', (error) => {
        clearTimeout(timer);
        reject(asRefusal(url, error));
      });
      req.once('close', () => clearTimeout(timer));
      req.end();
    });
  }

  #answer(
    url: URL,
    req: ClientRequest,
    res: IncomingMessage,
    asked: WebRequest,
    latencyMs: number,
  ): WebAnswer {
    try {
      const status = res.statusCode ?? 0;
      if (status === 404 || status === 410)
        throw new Refusal('absent', `${url.href} does not exist (status ${status}).`, {
          url: url.href,
          status,
        });
      // No range of an empty file, and none behind the end, can be had.
      if (status !== 200 && status !== 206)
        throw unreachable(url, `answers with status ${status}`, { status });
      const coding = res.headers['content-encoding'];
      if (coding !== undefined && coding !== 'identity')
        throw unreachable(url, `sends its bytes in a coding that was not asked for (${coding})`, { coding });
      const size = bodySize(res);
      const part = status === 206 ? partOf(url, res, asked, size) : { first: 0, total: size };
      const patience = new Patience(
        this.#options.stallTimeoutMs ?? 30_000,
        this.#options.minimumOctets ?? 1024,
      );
      const [type = ''] = (res.headers['content-type'] ?? '').split(';');
      return {
        url: url.href,
        size,
        ...part,
        type: type.trim().toLowerCase(),
        latencyMs,
        body: givenUp(req, asked.method === 'HEAD' ? nothing(req) : bodyOf(url, req, res, size, patience)),
      };
    } catch (error) {
      req.destroy();
      throw error;
    }
  }
}

/** An address of the web. @throws Refusal `malformed`, `unreachable` for another scheme. */
export function webUrl(text: string, base?: URL): URL {
  let url: URL;
  try {
    url = new URL(text, base);
  } catch (error) {
    throw new Refusal('malformed', `${JSON.stringify(text)} is no address.`, {}, { cause: error });
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw unreachable(url, 'is neither http: nor https:, and is not followed');
  if (url.username !== '' || url.password !== '')
    throw new Refusal('malformed', `${url.host} is asked for with a password in the address.`, {});
  url.hash = '';
  return url;
}

function redirected(from: URL, location: string): URL {
  const to = webUrl(location, from);
  if (from.protocol === 'https:' && to.protocol === 'http:')
    throw unreachable(to, 'is where a redirect leads, from https to http: it is not followed');
  return to;
}

/** Bytes of the body, where the server said so. Node's parser has refused contradictory lengths. */
function bodySize(res: IncomingMessage): number | undefined {
  const text = res.headers['content-length'];
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
}

/** A 206 that is another part than the one asked for would put bytes where they do not belong. */
function partOf(
  url: URL,
  res: IncomingMessage,
  { range, method }: WebRequest,
  size: number | undefined,
): { readonly first: number; readonly total: number | undefined } {
  const another = () =>
    new Refusal('malformed', `${url.href} sends another part than the one that was asked for.`, {
      url: url.href,
    });
  try {
    const { range: sent, size: total } = parseContentRange(res.headers['content-range'] ?? '');
    if (!range || !sent || sent.first !== range.first || sent.last > (range.last ?? sent.last))
      throw another();
    if (method !== 'HEAD' && size !== undefined && sent.last - sent.first + 1 !== size) throw another();
    return { first: sent.first, total };
  } catch (error) {
    if (error instanceof Malformed) throw another();
    throw error;
  }
}

// biome-ignore lint/correctness/useYield: a body of no bytes
async function* nothing(req: ClientRequest): AsyncGenerator<Uint8Array> {
  req.destroy();
}

/** A generator that was never begun does not hear that it is given up: its connection is closed here. */
function givenUp(req: ClientRequest, body: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  const [next, end] = [body.next.bind(body), body.return.bind(body)];
  let begun = false;
  return Object.assign(body, {
    next() {
      begun = true;
      return next();
    },
    return() {
      if (!begun) req.destroy();
      return end(undefined);
    },
  });
}

async function* bodyOf(
  url: URL,
  req: ClientRequest,
  res: IncomingMessage,
  size: number | undefined,
  patience: Patience,
): AsyncGenerator<Uint8Array> {
  let octets = 0;
  let ended = false;
  let slow: Refusal | undefined;
  const pieces = res[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  const short = (cause?: unknown) =>
    unreachable(url, `ends after ${octets} of ${size} bytes`, { bytes: octets, size }, cause);
  try {
    for (;;) {
      const piece = await patience.wait(pieces.next(), () => {
        slow = unreachable(url, `sends too slowly: ${octets} bytes, and no more`, {
          bytes: octets,
          slow: true,
        });
        req.destroy(slow);
      });
      if (piece.done) break;
      octets += piece.value.length;
      patience.arrived(piece.value.length);
      yield piece.value;
    }
    ended = true;
  } catch (error) {
    // What the stream says of a request that was destroyed is that it was cut off, and not why.
    if (slow) throw slow;
    if (error instanceof Refusal || size === undefined || octets >= size) throw asRefusal(url, error);
    throw short(error);
  } finally {
    // Where the consumer stops early, what is still on its way is not wanted.
    if (!ended) req.destroy();
  }
  if (size !== undefined && octets !== size) throw short();
}

function asRefusal(url: URL, error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
  return unreachable(url, `cannot be fetched${code === undefined ? '' : ` (${code})`}`, { code }, error);
}

function unreachable(url: URL, why: string, facts: RefusalFacts = {}, cause?: unknown): Refusal {
  return new Refusal(
    'unreachable',
    `${url.href} ${why}.`,
    { url: url.href, ...facts },
    cause === undefined ? {} : { cause },
  );
}
