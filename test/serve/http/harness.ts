import { once } from 'node:events';
import { type IncomingHttpHeaders, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import type { Site } from '../../../src/release/site.ts';
import { type HttpServer, type HttpServerOptions, startHttpServer } from '../../../src/serve/http/http.ts';
import type { HttpLimits, Pages } from '../../../src/serve/http/http-types.ts';
import { Shares } from '../../../src/serve/shares.ts';
import { type Told, takeDown } from '../events.ts';

export interface Running extends HttpServer, Told {}

/** A server on an ephemeral loopback port that closes with the test. */
export async function serving(
  t: TestContext,
  site: Site,
  limits: Partial<HttpLimits> = {},
  pages: Pages = new Map(),
  options: Partial<HttpServerOptions> = {},
): Promise<Running> {
  const { told, emit } = takeDown();
  const server = await startHttpServer({
    site,
    pages,
    bind: '127.0.0.1',
    port: 0,
    shares: new Shares(),
    emit,
    limits,
    ...options,
  });
  t.after(() => server.close({ graceMs: 0 }));
  return {
    bound: server.bound,
    tls: server.tls,
    address: server.address,
    port: server.port,
    get connections() {
      return server.connections;
    },
    get heldBytes() {
      return server.heldBytes;
    },
    close: (options) => server.close(options),
    ...told,
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
export async function dial(t: TestContext, port: number, from = '127.0.0.1'): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port, localAddress: from });
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
