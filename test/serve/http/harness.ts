import { once } from 'node:events';
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import type { Site } from '../../../src/release/site.ts';
import { type HttpServer, startHttpServer } from '../../../src/serve/http/http.ts';
import type { HttpEvent, HttpLimits, HttpLog, Pages } from '../../../src/serve/http/http-types.ts';

export interface Running extends HttpServer {
  /** Everything `onEvent` was given, in order. */
  readonly events: readonly HttpEvent[];
  /** Messages of level error. */
  readonly errors: readonly object[];
  /** The first event of a kind, awaited if it has not happened yet. */
  event<K extends HttpEvent['kind']>(kind: K): Promise<Extract<HttpEvent, { kind: K }>>;
}

/** A server on an ephemeral loopback port that closes with the test. */
export async function serving(
  t: TestContext,
  site: Site,
  limits: Partial<HttpLimits> = {},
  pages: Pages = new Map(),
): Promise<Running> {
  const events: HttpEvent[] = [];
  const errors: object[] = [];
  const waiting: { kind: string; resolve: (event: HttpEvent) => void }[] = [];
  const log: HttpLog = { info: () => {}, warn: () => {}, error: (facts) => errors.push(facts) };
  const server = await startHttpServer({
    site,
    pages,
    bind: '127.0.0.1',
    port: 0,
    log,
    limits,
    onEvent(event) {
      events.push(event);
      for (const each of waiting) if (each.kind === event.kind) each.resolve(event);
    },
  });
  t.after(() => server.close({ graceMs: 0 }));
  return {
    address: server.address,
    port: server.port,
    get heldBytes() {
      return server.heldBytes;
    },
    close: (options) => server.close(options),
    events,
    errors,
    async event<K extends HttpEvent['kind']>(kind: K) {
      const past = events.find((each) => each.kind === kind);
      const event = past ?? (await new Promise<HttpEvent>((resolve) => waiting.push({ kind, resolve })));
      return event as Extract<HttpEvent, { kind: K }>;
    },
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Asked {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** One request on a connection of its own. The path goes out as it is. */
export async function ask(
  port: number,
  path: string,
  { method = 'GET', headers, body }: Asked = {},
): Promise<Answer> {
  const req = request({ host: '127.0.0.1', port, path, method, headers: { ...headers }, agent: false });
  req.end(body);
  const [res] = await once(req, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of res) chunks.push(chunk);
  return { status: res.statusCode, headers: res.headers, body: Buffer.concat(chunks) };
}

/** A bare connection. */
export async function dial(t: TestContext, port: number): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port });
  socket.on('error', () => {});
  t.after(() => socket.destroy());
  await once(socket, 'connect');
  return socket;
}

/** Sends bytes as they are and collects what comes until the server closes. */
export async function raw(t: TestContext, port: number, bytes: string | Buffer): Promise<string> {
  const socket = await dial(t, port);
  socket.write(bytes);
  return untilClosed(socket);
}

/** Everything that arrives until the other side closes, as latin1. */
export async function untilClosed(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  return Buffer.concat(chunks).toString('latin1');
}
