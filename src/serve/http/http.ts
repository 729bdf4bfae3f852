import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { IpPrefix } from '../../formats/net/ip-address.ts';
import type { TurnedAway } from '../../release/server-event.ts';
import type { Site } from '../../release/site.ts';
import { askedText } from '../asked.ts';
import { ChunkPool } from '../chunk-pool.ts';
import type { Emit } from '../emit.ts';
import { type Bind, type Bound, listenStream } from '../listen.ts';
import type { Shares } from '../shares.ts';
import { type Connection, Connections } from './connections.ts';
import { EndOfTurn } from './end-of-turn.ts';
import { expressServer } from './express-server.ts';
import { demandRequest } from './http-admission.ts';
import { httpApp } from './http-app.ts';
import { clientOf } from './http-client.ts';
import { Exchange } from './http-exchange.ts';
import { answerFromSite } from './http-files.ts';
import { HeldAnswers, sendHeld } from './http-held.ts';
import { findPage } from './http-page.ts';
import { tellWhyNot } from './http-refused.ts';
import { DEFAULT_HTTP_LIMITS, type HttpLimits, type Pages, type Steer } from './http-types.ts';
import { safeRequestPath } from './request-path.ts';
import { wayOf } from './request-way.ts';
import { changePair, type TlsPair, tlsDoor } from './tls-door.ts';

export interface HttpServerOptions {
  readonly site: Site;
  readonly pages: Pages;
  /** IP addresses. */
  readonly bind: Bind;
  /** 0 asks for an ephemeral one. */
  readonly port: number;
  /** Descriptors of sockets that were handed over (`HandedSockets`): where there are any, the two above say nothing. */
  readonly sockets?: readonly number[] | undefined;
  readonly shares: Shares;
  readonly emit: Emit;
  readonly limits?: Partial<HttpLimits>;
  /** Proxies whose X-Forwarded-For is believed; default none. */
  readonly proxies?: readonly IpPrefix[];
  /** Sends clients elsewhere for whole files; absent: nobody is sent anywhere. */
  readonly steer?: Steer | undefined;
  /** The same over TLS, at the same addresses and a port of its own. */
  readonly tls?:
    | {
        readonly port: number;
        /** As above. */
        readonly sockets?: readonly number[] | undefined;
        readonly pair: TlsPair;
      }
    | undefined;
}

/** The door for those who speak TLS. */
export interface HttpsDoor {
  readonly bound: readonly Bound[];
  /** Shows another certificate to whoever comes from now on. */
  change(pair: TlsPair): void;
}

export interface HttpServer {
  /** The first of them. */
  readonly address: string;
  readonly port: number;
  readonly bound: readonly Bound[];
  readonly tls: HttpsDoor | undefined;
  /** Of both doors. */
  readonly connections: number;
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
 * @throws ListenError, UsageError for a descriptor that is no such socket.
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { emit, shares, bind, port, sockets, proxies = [] } = options;
  const limits = { ...DEFAULT_HTTP_LIMITS, ...options.limits };
  const pool = new ChunkPool(limits.bufferBytes);
  const connections = new Connections(limits.maxConnections, limits.reservedConnections, shares);
  const exchanges = new WeakMap<object, Exchange>();
  let draining = false;
  let requests = 0;

  const exchangeOf = (res: object): Exchange => {
    const exchange = exchanges.get(res);
    if (exchange === undefined) throw new Error('a response without its exchange');
    return exchange;
  };
  const { site, pages, steer } = options;
  const app = httpApp({ site, pages, limits, pool, exchangeOf, emit, steer });
  const turn = new EndOfTurn();
  const held = new HeldAnswers({ site, pages, steers: steer !== undefined });

  const leave = (connection: Connection): void => {
    connection.outstanding -= 1;
    connection.current = undefined;
    if (draining && connection.outstanding === 0) connection.socket.destroySoon();
  };

  /** The short way, where there is one: see `HeldAnswers`. False: the long way answers. */
  const answerHeld = (
    req: IncomingMessage,
    res: ServerResponse,
    failed: (error: unknown) => void,
  ): boolean => {
    const connection = connections.of(req.socket);
    // Whoever has asked before waits, and one who is let in for pages alone gets no files.
    if (connection === undefined || connection.outstanding > 0 || connection.reserved || draining)
      return false;
    const answer = held.find(req, connection.remote);
    if (answer === undefined) return false;
    connection.outstanding += 1;
    requests += 1;
    const timeoutMs = limits.chunkTimeoutMs;
    const over = () => leave(connection);
    sendHeld(req, res, answer, { connection, id: requests, timeoutMs, turn }, emit, over, failed);
    return true;
  };

  /** The application's steps for a file that is read, without its layers. */
  const answerFile = async (exchange: Exchange): Promise<void> => {
    try {
      demandRequest(exchange);
      await answerFromSite(exchange, { site, limits, pool, emit, steer });
    } catch (error) {
      await tellWhyNot(exchange, error, { pages, emit });
    }
  };

  const answer = async (req: IncomingMessage, res: ServerResponse): Promise<void> => {
    const connection = connections.of(req.socket);
    if (connection === undefined) return;
    connection.outstanding += 1;
    if (connection.outstanding > limits.maxPipelined + 1) {
      // Two thousand requests fit into one segment of pipelined GETs; each would open a file. It is told once: those that
      // the parser still has belong to a connection that is gone.
      if (!req.socket.destroyed)
        turnAway(emit, connection.remote, 'too-many-requests', `${req.method} ${req.url}`);
      req.socket.destroy();
      return;
    }
    // A pipelined request holds no file and no buffer until the ones before it are answered.
    if (res.socket === null) await new Promise((resolve) => res.once('socket', resolve));

    requests += 1;
    const target = safeRequestPath(req.url ?? '');
    const { remote: peer, encrypted } = connection;
    const from = {
      remote: clientOf(peer, req.headers['x-forwarded-for'], proxies),
      way: wayOf(peer, encrypted, req.headers, proxies),
    };
    const exchange = new Exchange(requests, req, res, connection, from, target);
    connection.current = exchange;
    res.once('close', () => {
      leave(connection);
      emit(exchange.finished());
    });
    emit(exchange.begun());
    if (draining) res.shouldKeepAlive = false;
    res.setHeader('X-Content-Type-Options', 'nosniff');
    const { path } = exchange;
    if (path !== undefined && !connection.reserved && findPage(pages, path) === undefined) {
      await answerFile(exchange);
      return;
    }
    // Express parses the URL by rules of its own; it gets only what has passed ours.
    req.url = exchange.path ?? '/';
    exchanges.set(res, exchange);
    app(req, res);
  };
  const onRequest = (req: IncomingMessage, res: ServerResponse): void => {
    const failed = (error: unknown): void => {
      emit({ kind: 'fault', server: 'http', error, what: 'answer a request' });
      req.socket.destroy();
    };
    try {
      if (!answerHeld(req, res, failed)) answer(req, res).catch(failed);
    } catch (error) {
      // Nobody else would: it would end the process.
      failed(error);
    }
  };

  const server = expressServer(app, {
    maxHeaderSize: limits.maxHeaderBytes,
    headersTimeout: Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs),
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    connectionsCheckingInterval: limits.checkIntervalMs,
    insecureHTTPParser: false,
    // Ours, which also says what was asked for.
    requireHostHeader: false,
    noDelay: true,
  });
  // Fields are bounded by bytes; Node would leave out, in silence, those beyond a count.
  server.maxHeadersCount = 0;
  server.timeout = limits.stallTimeoutMs;
  server.on('request', onRequest);
  // Without a listener Node would invite the body (100) before anything has looked at the request.
  server.on('checkContinue', onRequest);
  // And would answer by itself, untold and uncounted, whoever expects something else.
  server.on('checkExpectation', onRequest);
  // Node calls it when the server closes, and takes those for idle whose response has ended but not left.
  server.closeIdleConnections = () => connections.destroyIdle();
  guardConnections(server, connections, emit);

  // As Node makes its own.
  const further = { allowHalfOpen: true, noDelay: true };
  const onFault = (error: unknown): void => {
    emit({ kind: 'fault', server: 'http', error, what: 'take a connection' });
    connections.relieve();
  };
  const listener = await listenStream(server, { what: 'HTTP', bind, port, sockets }, further, onFault);
  const openDoor = async ({ port, sockets, pair }: NonNullable<HttpServerOptions['tls']>) => {
    const handshakeTimeoutMs = limits.headersTimeoutMs;
    const door = tlsDoor({ pair, server, connections, handshakeTimeoutMs, emit });
    const { bound, close } = await listenStream(
      door,
      { what: 'HTTPS', bind, port, sockets },
      { noDelay: true },
      onFault,
    );
    return { bound, close, change: (other: TlsPair) => changePair(door, other) };
  };
  const tls = await (options.tls && openDoor(options.tls))?.catch(async (error: unknown) => {
    await listener.close();
    throw error;
  });
  let closed: Promise<void> | undefined;
  return {
    ...listener.bound[0],
    bound: listener.bound,
    tls,
    get connections() {
      return connections.size;
    },
    get heldBytes() {
      return pool.held;
    },
    close({ graceMs }) {
      // Every call counts: a second one may end the wait that the first one allowed.
      const timer = setTimeout(() => connections.destroyAll(), graceMs);
      if (closed === undefined) {
        draining = true;
        closed = Promise.all([listener.close(), tls?.close()]).then(() => {});
        connections.destroyIdle();
      }
      return closed.finally(() => clearTimeout(timer));
    },
  };
}

/** What happens below requests: connections, timeouts, bytes that are no HTTP. */
function guardConnections(server: Server, connections: Connections, emit: Emit): void {
  server.on('connection', (socket: Socket) => {
    // What comes through the door of TLS was let in there.
    if (connections.of(socket) !== undefined) return;
    // Reset before it was taken: the kernel still hands over what it brought, but not from whom, and nobody waits for an answer.
    if (socket.remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    if (connections.admit(socket) !== undefined) return;
    turnAway(emit, socket.remoteAddress ?? '', 'too-many', '');
    socket.destroy();
  });
  server.on('connect', (req: IncomingMessage, duplex: Duplex) => {
    turnAway(emit, (duplex as Socket).remoteAddress ?? '', 'not-a-request', `CONNECT ${req.url}`);
    duplex.destroy();
  });
  server.on('timeout', (socket: Socket) => {
    connections.of(socket)?.current?.cut('stalled');
    socket.destroy();
  });
  server.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, duplex: Duplex) => {
    const socket = duplex as Socket;
    const connection = connections.of(socket);
    // Inside a response, an error page would become part of a file.
    // Nor is there anybody to read one behind TLS that broke.
    if (
      error.code === 'ECONNRESET' ||
      error.code?.startsWith('ERR_SSL') ||
      !socket.writable ||
      (connection?.outstanding ?? 0) > 0
    ) {
      socket.destroy();
      return;
    }
    const { status, phrase, text, reason } = parserAnswer(error.code);
    // The first line of a connection only: fields may hold what is nobody's business, and so may the first line of a packet
    // that is not the first, which begins where the sender liked.
    const { rawPacket } = error;
    const isFirst = rawPacket !== undefined && socket.bytesRead <= rawPacket.length;
    const [line = ''] = isFirst ? rawPacket.toString('latin1', 0, 1024).split(/[\r\n]/) : [];
    turnAway(emit, connection?.remote ?? '', reason, line);
    socket.end(
      `HTTP/1.1 ${status} ${phrase}\r\nContent-Type: text/plain; charset=utf-8\r\n` +
        `X-Content-Type-Options: nosniff\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
      // Whoever sends garbage is not waited for: the socket goes when the answer has left.
      () => socket.destroy(),
    );
  });
}

interface ParserAnswer {
  readonly status: number;
  readonly phrase: string;
  readonly text: string;
  readonly reason: TurnedAway;
}

function parserAnswer(code: string | undefined): ParserAnswer {
  switch (code) {
    case 'HPE_HEADER_OVERFLOW': {
      const phrase = 'Request Header Fields Too Large';
      return { status: 431, phrase, text: 'The request header is too large.\n', reason: 'too-large' };
    }
    case 'ERR_HTTP_REQUEST_TIMEOUT': {
      const phrase = 'Request Timeout';
      return { status: 408, phrase, text: 'The request did not arrive in time.\n', reason: 'too-slow' };
    }
    default: {
      const phrase = 'Bad Request';
      return { status: 400, phrase, text: 'That is not an HTTP/1.1 request.\n', reason: 'not-a-request' };
    }
  }
}

function turnAway(emit: Emit, remote: string, reason: TurnedAway, asked: string): void {
  emit({ kind: 'turned-away', server: 'http', remote, reason, asked: askedText(asked) });
}
