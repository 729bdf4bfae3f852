import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Site } from '../../release/site.ts';
import { ChunkPool } from '../chunk-pool.ts';
import { listenStream } from '../listen.ts';
import { Connections } from './connections.ts';
import { expressServer } from './express-server.ts';
import { httpApp } from './http-app.ts';
import { Exchange } from './http-exchange.ts';
import {
  DEFAULT_HTTP_LIMITS,
  type HttpEvent,
  type HttpLimits,
  type HttpLog,
  type Pages,
} from './http-types.ts';
import { safeRequestPath } from './request-path.ts';

export interface HttpServerOptions {
  readonly site: Site;
  readonly pages: Pages;
  /** An IP address. */
  readonly bind: string;
  /** 0 asks for an ephemeral one. */
  readonly port: number;
  readonly log: HttpLog;
  readonly limits?: Partial<HttpLimits>;
  /** Must not block. What it throws is logged and goes no further. */
  readonly onEvent?: (event: HttpEvent) => void;
}

export interface HttpServer {
  readonly address: string;
  readonly port: number;
  /** Bytes that read buffers of running responses hold now. */
  readonly heldBytes: number;
  /**
   * Stops accepting, closes idle connections at once, lets running responses finish for up to `graceMs`
   * milliseconds, destroys the rest. Resolves when every socket is closed.
   */
  close(options: { readonly graceMs: number }): Promise<void>;
}

/**
 * Serves a site and named pages over HTTP/1.1 until it is closed.
 *
 * @throws ListenError
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { log, bind: address, port } = options;
  const limits = { ...DEFAULT_HTTP_LIMITS, ...options.limits };
  const pool = new ChunkPool(limits.bufferBytes);
  const connections = new Connections(limits.maxConnectionsPerAddress ?? Number.POSITIVE_INFINITY);
  const exchanges = new WeakMap<object, Exchange>();
  let draining = false;
  let requests = 0;

  const onEvent = (event: HttpEvent): void => {
    logEvent(log, event);
    try {
      options.onEvent?.(event);
    } catch (error) {
      log.error({ err: error, event: event.kind }, 'http: a listener of events failed');
    }
  };
  const exchangeOf = (res: object): Exchange => {
    const exchange = exchanges.get(res);
    if (exchange === undefined) throw new Error('a response without its exchange');
    return exchange;
  };
  const { site, pages } = options;
  const app = httpApp({ site, pages, log, limits, pool, exchangeOf, onEvent });

  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const connection = connections.of(req.socket);
    if (connection === undefined) return;
    connection.outstanding += 1;
    if (connection.outstanding > limits.maxPipelined + 1) {
      // Two thousand requests fit into one segment of pipelined GETs; each would open a file.
      onEvent({
        kind: 'rejected',
        remote: connection.remote,
        status: 0,
        reason: 'too many pipelined requests',
      });
      req.socket.destroy();
      return;
    }
    // A pipelined request holds no file and no buffer until the ones before it are answered.
    if (res.socket === null) await new Promise((resolve) => res.once('socket', resolve));

    requests += 1;
    const target = safeRequestPath(req.url ?? '');
    const exchange = new Exchange(requests, req, res, connection.remote, target);
    exchanges.set(res, exchange);
    connection.current = exchange;
    res.once('close', () => {
      connection.outstanding -= 1;
      connection.current = undefined;
      onEvent(exchange.finished());
      if (draining && connection.outstanding === 0) connection.socket.destroySoon();
    });
    const { id, remote, method, path } = exchange;
    onEvent({ kind: 'started', id, remote, method, path });
    if (draining) res.shouldKeepAlive = false;
    // Express parses the URL by rules of its own; it gets only what has passed ours.
    req.url = path ?? '/';
    app(req, res);
  };
  const onRequest = (req: IncomingMessage, res: ServerResponse): void => {
    answer(req, res).catch((error: unknown) => {
      log.error({ err: error }, 'http: a request could not be answered');
      req.socket.destroy();
    });
  };

  const server = expressServer(app, {
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs),
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: limits.checkIntervalMs,
    insecureHTTPParser: false,
    requireHostHeader: true,
    noDelay: true,
  });
  server.maxConnections = limits.maxConnections;
  // Fields are bounded by bytes; Node would leave out, in silence, those beyond a count.
  server.maxHeadersCount = 0;
  server.timeout = limits.stallTimeoutMs;
  server.on('request', onRequest);
  // Without a listener Node would invite the body (100) before anything has looked at the request.
  server.on('checkContinue', onRequest);
  guardConnections(server, connections, onEvent);

  const bound = await listenStream(server, { what: 'HTTP', address, port });
  let closed: Promise<void> | undefined;
  return {
    ...bound,
    get heldBytes() {
      return pool.held;
    },
    close({ graceMs }) {
      // Every call counts: a second one may end the wait that the first one allowed.
      const timer = setTimeout(() => connections.destroyAll(), graceMs);
      closed ??= new Promise((resolve) => {
        draining = true;
        server.close(() => resolve());
        connections.destroyIdle();
      });
      return closed.finally(() => clearTimeout(timer));
    },
  };
}

/** What happens below requests: connections, timeouts, bytes that are no HTTP. */
function guardConnections(
  server: Server,
  connections: Connections,
  onEvent: (event: HttpEvent) => void,
): void {
  const reject = (remote: string, status: number, reason: string): void =>
    onEvent({ kind: 'rejected', remote, status, reason });

  server.on('connection', (socket: Socket) => {
    if (connections.admit(socket) !== undefined) return;
    reject(socket.remoteAddress ?? '', 0, 'too many connections from one address');
    socket.destroy();
  });
  server.on('drop', (dropped) => reject(dropped?.remoteAddress ?? '', 0, 'too many connections'));
  server.on('timeout', (socket: Socket) => {
    connections.of(socket)?.current?.cut('stalled');
    socket.destroy();
  });
  server.on('clientError', (error: NodeJS.ErrnoException, duplex: Duplex) => {
    const socket = duplex as Socket;
    const connection = connections.of(socket);
    // Inside a response, an error page would become part of a file.
    if (error.code === 'ECONNRESET' || !socket.writable || (connection?.outstanding ?? 0) > 0) {
      socket.destroy();
      return;
    }
    const { status, phrase, text } = parserRefusal(error.code);
    reject(connection?.remote ?? '', status, error.code ?? 'unknown');
    socket.end(
      `HTTP/1.1 ${status} ${phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
        `X-Content-Type-Options: nosniff\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
      // Whoever sends garbage is not waited for: the socket goes when the answer has left.
      () => socket.destroy(),
    );
  });
}

function parserRefusal(code: string | undefined): { status: number; phrase: string; text: string } {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return {
        status: 431,
        phrase: 'Request Header Fields Too Large',
        text: 'too-large: The request header is too large.\n',
      };
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return {
        status: 408,
        phrase: 'Request Timeout',
        text: 'unreachable: The request did not arrive in time.\n',
      };
    default:
      return { status: 400, phrase: 'Bad Request', text: 'malformed: That is not an HTTP/1.1 request.\n' };
  }
}

/** One line for each response; a client's mistakes are information, ours and attacks are warnings. */
function logEvent(log: HttpLog, event: HttpEvent): void {
  if (event.kind === 'rejected') {
    const { remote, status, reason } = event;
    log.warn({ remote, status, reason }, 'http: a connection was rejected');
  } else if (event.kind === 'finished') {
    const { kind: _kind, refusal, durationMs, ...facts } = event;
    const line = {
      ...facts,
      durationMs: Math.round(durationMs),
      ...(refusal === undefined ? {} : { refusal: refusal.toJSON() }),
    };
    const ours = event.status >= 500 || event.ending === 'cut' || event.ending === 'stalled';
    if (ours) log.warn(line, 'http: response');
    else log.info(line, 'http: response');
  }
}
