import { type ClientRequest, type IncomingMessage, request } from 'node:http';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal, type RefusalFacts } from '../../errors/refusal.ts';
import { Patience } from '../../files/patience.ts';
import { encodeRange, parseContentRange, rangeLength } from '../../formats/net/range.ts';
import type { Fetched, FetchOptions, Transport } from '../transport.ts';

export interface HttpTransportOptions {
  /** Milliseconds until the connection must stand. */
  readonly connectTimeoutMs: number;
  /** Milliseconds within which an answer must begin, and `minimumOctets` must arrive while one is awaited. */
  readonly stallTimeoutMs: number;
  /** Redirects followed for one fetch; iPXE and `curl -L` follow them too. Default 10. */
  readonly maxRedirects?: number;
  /**
   * Bytes that must arrive in each `stallTimeoutMs` of waiting; default 1024. A server that sends a byte
   * now and then would otherwise hold a machine for ever (TUF: slow retrieval attack).
   */
  readonly minimumOctets?: number;
  /** The machine's own address, where the host that emulates it has several. */
  readonly localAddress?: string;
}

/** Longest response header, bytes. */
const MAX_HEADER = 16 * 1024;

/**
 * Fetches over plain HTTP/1.1, as a boot loader does: what the bytes are is for others to verify.
 *
 * Nothing is buffered beyond what a socket holds, and nothing is believed but the frame: a body that ends
 * before its Content-Length, or a part that is not the range that was asked for, is a refusal. One
 * connection for each fetch; it is destroyed as soon as the consumer of `body` stops.
 */
export function httpTransport(options: HttpTransportOptions): Transport {
  const maxRedirects = options.maxRedirects ?? 10;
  return {
    async fetch(url, fetchOptions = {}) {
      let at = parsed(url, url);
      for (let redirects = 0; redirects <= maxRedirects; redirects++) {
        const { req, res } = await send(at, fetchOptions, options);
        const location = res.headers.location;
        if (!isRedirect(res.statusCode) || location === undefined) {
          return answered(at, req, res, fetchOptions, options);
        }
        req.destroy();
        at = parsed(location, at);
      }
      throw unreachable(at, `answers with more than ${maxRedirects} redirects`, { redirects: maxRedirects });
    },
  };
}

function isRedirect(status: number | undefined): boolean {
  return status !== undefined && [301, 302, 303, 307, 308].includes(status);
}

function parsed(text: string, base: string | URL): URL {
  let url: URL;
  try {
    url = new URL(text, base);
  } catch (error) {
    throw new Refusal('malformed', 'That is not a URL.', {}, { cause: error });
  }
  if (url.protocol !== 'http:')
    throw unreachable(url, 'is not an http: URL, and nothing else is spoken here');
  if (url.username !== '' || url.password !== '') {
    throw new Refusal('malformed', `${url.host} is asked for with a password in the URL.`);
  }
  url.hash = '';
  return url;
}

function send(
  url: URL,
  { method = 'GET', body, range, userAgent, signal }: FetchOptions,
  { connectTimeoutMs, stallTimeoutMs, localAddress }: HttpTransportOptions,
): Promise<{ req: ClientRequest; res: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const req = request(url, {
      method,
      agent: false,
      maxHeaderSize: MAX_HEADER,
      insecureHTTPParser: false,
      // A coding would change the bytes that were sealed.
      headers: {
        'Accept-Encoding': 'identity',
        ...(userAgent === undefined ? {} : { 'User-Agent': userAgent }),
        ...(range === undefined ? {} : { Range: encodeRange([range]) }),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
      },
      ...(signal === undefined ? {} : { signal }),
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    let timer = setTimeout(
      () => req.destroy(unreachable(url, `does not accept a connection within ${connectTimeoutMs} ms`)),
      connectTimeoutMs,
    );
    req.once('socket', (socket) =>
      socket.once('connect', () => {
        clearTimeout(timer);
        timer = setTimeout(
          () => req.destroy(unreachable(url, `does not answer within ${stallTimeoutMs} ms`)),
          stallTimeoutMs,
        );
      }),
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
    req.end(body);
  });
}

function answered(
  url: URL,
  req: ClientRequest,
  res: IncomingMessage,
  { method = 'GET', range }: FetchOptions,
  { stallTimeoutMs, minimumOctets = 1024 }: HttpTransportOptions,
): Fetched {
  try {
    const status = res.statusCode ?? 0;
    if (status === 404 || status === 410) {
      throw new Refusal(
        'absent',
        `${url.origin}${url.pathname} ${status === 410 ? 'is ended by its server, which says why' : 'does not exist'}.`,
        { url: url.href, status },
      );
    }
    if (status < 200 || status > 299) throw unreachable(url, `answers with status ${status}`, { status });
    const coding = res.headers['content-encoding'];
    if (coding !== undefined && coding !== 'identity') {
      throw unreachable(url, 'sends its bytes in a coding that was not asked for', { coding });
    }
    const partial = status === 206;
    const size = bodySize(res);
    const part = partial && method === 'GET' ? checkedPart(url, res, range, size) : undefined;

    if (method === 'HEAD') req.destroy();
    const patience = new Patience(stallTimeoutMs, minimumOctets);
    return {
      url: url.href,
      size,
      partial,
      ...(part === undefined ? {} : { part }),
      body: method === 'HEAD' ? nothing() : body(url, req, res, size, patience),
    };
  } catch (error) {
    req.destroy();
    throw error;
  }
}

/** Bytes of the body, where the server said so. Node's parser has refused contradictory lengths. */
function bodySize(res: IncomingMessage): number | undefined {
  const text = res.headers['content-length'];
  return text !== undefined && /^[0-9]{1,15}$/.test(text) ? Number(text) : undefined;
}

/** A 206 that is another part than the one asked for would put bytes where they do not belong. */
function checkedPart(
  url: URL,
  res: IncomingMessage,
  range: FetchOptions['range'],
  size: number | undefined,
): Fetched['part'] {
  let part: ReturnType<typeof parseContentRange> | undefined;
  try {
    part = parseContentRange(res.headers['content-range'] ?? '');
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
  }
  const sent = part?.range;
  const fits =
    range !== undefined && sent !== undefined && sent.first === range.first && sent.last <= range.last;
  if (!fits || (size !== undefined && rangeLength(sent) !== size)) {
    throw new Refusal('malformed', `${url.href} sends another part than the one that was asked for.`, {
      url: url.href,
    });
  }
  return { ...sent, size: part?.size };
}

async function* nothing(): AsyncGenerator<Uint8Array> {}

async function* body(
  url: URL,
  req: ClientRequest,
  res: IncomingMessage,
  size: number | undefined,
  patience: Patience,
): AsyncGenerator<Uint8Array> {
  let octets = 0;
  const pieces = res[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  try {
    for (;;) {
      const piece = await patience.wait(pieces.next(), () =>
        req.destroy(unreachable(url, 'sends too slowly', { bytes: octets, size })),
      );
      if (piece.done) break;
      octets += piece.value.length;
      patience.arrived(piece.value.length);
      yield piece.value;
    }
  } catch (error) {
    const short = size !== undefined && octets < size;
    throw error instanceof Refusal || !short
      ? asRefusal(url, error)
      : unreachable(url, `ends after ${octets} of ${size} bytes`, { bytes: octets, size }, error);
  } finally {
    // Also when the consumer stops early: what is still on its way is not wanted.
    req.destroy();
  }
  if (size !== undefined && octets !== size) {
    throw unreachable(url, `ends after ${octets} of ${size} bytes`, { bytes: octets, size });
  }
}

function asRefusal(url: URL, error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
  return unreachable(url, `cannot be fetched${code === undefined ? '' : ` (${code})`}`, { code }, error);
}

function unreachable(url: URL, why: string, facts: RefusalFacts = {}, cause?: unknown): Refusal {
  const named = { url: url.href, ...facts };
  return new Refusal('unreachable', `${url.href} ${why}.`, named, cause === undefined ? {} : { cause });
}
