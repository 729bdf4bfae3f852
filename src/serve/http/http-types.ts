import type { IncomingHttpHeaders } from 'node:http';
import type { Refusal } from '../../errors/refusal.ts';
import type { FollowingClient } from './follows-redirects.ts';
import type { Way } from './request-way.ts';

/** Bounds on what clients may cost. Times are milliseconds, sizes bytes. */
export interface HttpLimits {
  readonly maxConnections: number;
  /** Connections beyond those, which get nothing but pages that must always answer. */
  readonly reservedConnections: number;
  /** Request line and header fields together. */
  readonly maxHeaderBytes: number;
  /** Requests that may wait on one connection behind the one being answered (pipelining). */
  readonly maxPipelined: number;
  /** From the first byte of a request (or from connecting) to the end of its header. */
  readonly headersTimeoutMs: number;
  /** From the first byte of a request to the end of its body. */
  readonly requestTimeoutMs: number;
  /** How long an idle connection is kept for the next request. */
  readonly keepAliveTimeoutMs: number;
  /** A connection on which nothing moves in either direction for this long is dropped. */
  readonly stallTimeoutMs: number;
  /** A client that needs longer than this for one chunk (at most 1 MiB) is dropped, though it may move. */
  readonly chunkTimeoutMs: number;
  /** How often headers and requests are checked for being late. */
  readonly checkIntervalMs: number;
  /** What read buffers of all responses may hold before chunks become small. */
  readonly bufferBytes: number;
}

export const DEFAULT_HTTP_LIMITS: HttpLimits = {
  maxConnections: 4096,
  reservedConnections: 64,
  maxHeaderBytes: 8192,
  maxPipelined: 8,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 15_000,
  stallTimeoutMs: 60_000,
  chunkTimeoutMs: 600_000,
  checkIntervalMs: 1_000,
  bufferBytes: 256 * 1024 * 1024,
};

/**
 * Fields of every answer that is a page's, or stands in the place of one; a page may say more of itself. No page of another
 * site may show it, embed it, or learn where its readers came from. `same-origin` and not `no-referrer`, with which browsers
 * send forms to their own server with "Origin: null" (Fetch, "append a request Origin header"): then nobody could tell them
 * from others. No Strict-Transport-Security: boot files are fetched from the same host without TLS.
 */
export const PAGE_FIELDS: Readonly<Record<string, string>> = {
  'Cache-Control': 'no-store',
  'Content-Security-Policy':
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Referrer-Policy': 'same-origin',
  'X-Frame-Options': 'DENY',
};

/** A whole file that a client asks for which follows redirects. */
export interface SteerRequest {
  /** Decoded and safe. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  readonly client: FollowingClient;
  /** The client's address. */
  readonly remote: string;
  /** Its query says that it wants no redirect. */
  readonly direct: boolean;
}

/** Where a client is sent for a file. */
export interface Steered {
  /** The mirror's address. */
  readonly mirror: string;
  readonly location: string;
  /** Of the file, that the mirror is to send. */
  readonly bytes: number;
}

/** Whether a file is answered with a redirect; undefined: with its bytes. */
export type Steer = (asked: SteerRequest) => Steered | undefined;

/** What a page's handler is given. */
export interface PageRequest {
  readonly method: string;
  /** Decoded and safe (`safeRequestPath`). */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Address of the client: where a proxy that the operator trusts tells of another one, that. */
  readonly remote: string;
  /** By which way it came: who could have read or changed it. */
  readonly way: Way;
  /** Empty unless the page accepts bodies. */
  readonly body: Uint8Array;
  /** Aborted when the client goes away: a stream of events ends there. */
  readonly signal: AbortSignal;
}

/** What a page answers; the edge writes it. */
export interface PageAnswer {
  readonly status: number;
  /** Content-Length and the security fields are the edge's. */
  readonly headers?: Readonly<Record<string, string>>;
  /** A stream (an event source) leaves without Content-Length, each piece at once. */
  readonly body: string | Uint8Array | AsyncIterable<string | Uint8Array>;
}

/**
 * A named page of the server: everything it answers that is not a file of a release.
 *
 * `Pages` maps a path (`/healthz`), or a path ending in `/*` (`/api/v1/machines/*`), to its page. An exact
 * path wins over a pattern, the longer pattern over the shorter.
 */
export interface Page {
  /** May throw a `Refusal`. */
  handle(request: PageRequest): PageAnswer | Refusal | Promise<PageAnswer | Refusal>;
  /** It answers also where there is room for nothing else: who watches over the server asks for it. */
  readonly vital?: boolean;
  /** Whoever does not say which of the two they want is told why there is no answer in JSON, and not as text. */
  readonly prefersJson?: boolean;
  /** Without HEAD, which goes with GET. Default: GET only. */
  readonly methods?: readonly ('GET' | 'POST' | 'PUT' | 'DELETE')[];
  /** Largest request body, bytes; default 0: none. Never on GET and HEAD. */
  readonly maxBodyBytes?: number;
}

export type Pages = ReadonlyMap<string, Page>;
