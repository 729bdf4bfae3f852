import { randomBytes } from 'node:crypto';
import express, { type ErrorRequestHandler, type RequestHandler } from 'express';
import { Refusal } from '../../errors/refusal.ts';
import type { Resource, Site } from '../../release/site.ts';
import { holdsToken } from '../asked.ts';
import type { ChunkPool } from '../chunk-pool.ts';
import type { Emit } from '../emit.ts';
import { type FollowingClient, followsRedirects } from './follows-redirects.ts';
import { HttpAnswer } from './http-answer.ts';
import type { Exchange } from './http-exchange.ts';
import { answerFile } from './http-file.ts';
import { answerPage, findPage } from './http-page.ts';
import { isGone, sendFile } from './http-send.ts';
import { toldJson, toldOf, toldText } from './http-status.ts';
import type { HttpLimits, Pages, Steer, Steered } from './http-types.ts';
import { hostFault } from './request-host.ts';

/** What the application answers from. */
export interface HttpAppOptions {
  readonly site: Site;
  readonly pages: Pages;
  readonly limits: HttpLimits;
  readonly pool: ChunkPool;
  /** The exchange that the edge opened for this response. */
  exchangeOf(res: object): Exchange;
  readonly emit: Emit;
  /** Sends clients elsewhere for whole files; absent: nobody is sent anywhere. */
  readonly steer?: Steer | undefined;
}

/**
 * The express application: admit, named pages, files of the site, refusals. Each step either answers or
 * passes on; whatever is thrown ends in the last one.
 */
export function httpApp(options: HttpAppOptions): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', false);
  app.use(admit(options));
  app.use(namedPages(options));
  app.use(files(options));
  app.use(refusals(options));
  return app;
}

/** Stops what is no request for a name: unsafe targets, and bodies where none belongs. */
function admit({ exchangeOf }: HttpAppOptions): RequestHandler {
  return (req, res, next) => {
    res.setHeader('X-Content-Type-Options', 'nosniff');
    const { target, method } = exchangeOf(res);
    const fault = hostFault(req.rawHeaders, req.httpVersion !== '1.0' && req.httpVersion !== '0.9');
    if (fault !== undefined) throw new HttpAnswer(400, fault, { Connection: 'close' });
    if (typeof target !== 'string') throw target;
    // A path is said again in refusals, which are in the log; a query is not.
    if (holdsToken(target)) {
      const message =
        'A token has no place in a path; send it as "Authorization: Bearer TOKEN", and revoke this one.';
      throw new HttpAnswer(400, message, { Connection: 'close' });
    }
    if ((method === 'GET' || method === 'HEAD') && hasBody(req.headers)) {
      // RFC 9110 §9.3.1: a body on GET has no meaning and is how requests are smuggled past proxies.
      throw new HttpAnswer(413, `A ${method} request has no body.`, { Connection: 'close' });
    }
    next();
  };
}

/** True where a request announces a body of at least one byte. */
function hasBody(headers: { readonly [name: string]: string | string[] | undefined }): boolean {
  const length = headers['content-length'];
  return headers['transfer-encoding'] !== undefined || (length !== undefined && length !== '0');
}

function namedPages(options: HttpAppOptions): RequestHandler {
  return async (_req, res, next) => {
    const exchange = options.exchangeOf(res);
    const page = exchange.path === undefined ? undefined : findPage(options.pages, exchange.path);
    if (exchange.connection.reserved) {
      res.shouldKeepAlive = false;
      if (page?.vital !== true) {
        const message =
          'This address holds more connections than there is room for; close some, or try again later.';
        throw new HttpAnswer(503, message, { 'Retry-After': '1', Connection: 'close' });
      }
    }
    if (page === undefined) next();
    else await answerPage(exchange, page);
  };
}

function files({ site, pool, limits, exchangeOf, emit, steer }: HttpAppOptions): RequestHandler {
  return async (req, res) => {
    const exchange = exchangeOf(res);
    const { method, path } = exchange;
    if (method !== 'GET' && method !== 'HEAD') {
      throw new HttpAnswer(405, 'Files are read with GET and HEAD.', {
        Allow: 'GET, HEAD',
        Connection: 'close',
      });
    }
    if (path === undefined) throw new Refusal('absent', 'There is no such path.');

    const { query, asking } = exchange;
    const resource = await site.find(path, { query, remote: asking.remote });
    if (resource instanceof Refusal) throw resource;
    const client = followerOf(exchange);
    const steered =
      client &&
      (steeredTo(steer, exchange, client, resource) ?? (await sentElsewhere(exchange, client, resource)));
    if (steered) {
      const { location, mirror, bytes } = steered;
      emit({ kind: 'redirected', ...asking, mirror, bytes });
      // 302, which every client knows that knows any; never kept, since the next answer may be another.
      res.writeHead(302, { Location: location, 'Cache-Control': 'no-store', 'Content-Length': '0' });
      await exchange.end();
      return;
    }
    const conditions = {
      ifMatch: req.headers['if-match'],
      ifNoneMatch: req.headers['if-none-match'],
      ifRange: one(req.headers['if-range']),
    };
    const answer = answerFile(resource, method, conditions, req.headers.range, randomBoundary);
    const head = (): void => {
      res.writeHead(answer.status, { ...answer.headers });
    };
    if (answer.status === 304) {
      head();
      await exchange.end();
      return;
    }

    // HEAD opens the file too: it must not promise bytes that GET would refuse as drifted.
    const whole = answer.status === 200;
    const open = await resource.open(method === 'HEAD' ? 'nothing' : whole ? 'whole' : 'parts');
    try {
      if (method === 'HEAD') {
        await open.check();
        head();
        await exchange.end();
      } else {
        await sendFile(exchange, open, answer, head, {
          pool,
          chunkTimeoutMs: limits.chunkTimeoutMs,
          onProgress: (bytes, total) => emit({ kind: 'progress', ...exchange.asking, bytes, total }),
        });
      }
    } finally {
      await open.close();
    }
  };
}

/** Whole files alone, and no conditions: who asks for a part has begun, and goes on where it is. */
function followerOf({ req, method }: Exchange): FollowingClient | undefined {
  const client = followsRedirects(req.headers['user-agent']);
  const { range, 'if-match': match, 'if-none-match': noneMatch } = req.headers;
  if (method !== 'GET' || [range, match, noneMatch].some((field) => field !== undefined)) return undefined;
  return client;
}

function steeredTo(
  steer: Steer | undefined,
  { path, query, asking }: Exchange,
  client: FollowingClient,
  { size }: Resource,
): Steered | undefined {
  if (path === undefined) return undefined;
  return steer?.({ path, size, client, remote: asking.remote, direct: query.has('direct') });
}

/** What lies elsewhere anyway is fetched there by who can; `?direct` says that it could not. */
async function sentElsewhere(
  { query }: Exchange,
  client: FollowingClient,
  { elsewhere, size: bytes }: Resource,
): Promise<Steered | undefined> {
  const location = query.has('direct') ? undefined : await elsewhere?.(client);
  if (location === undefined) return undefined;
  // The rest of it may be a signature, which is good for whoever reads the log.
  const { origin, pathname } = new URL(location);
  return { mirror: origin + pathname, location, bytes };
}

/** If-Range is not a list: Node hands it over as a string, or joined by commas, which matches no tag. */
function one(field: string | string[] | undefined): string | undefined {
  return Array.isArray(field) ? field.join(', ') : field;
}

function randomBoundary(): string {
  return randomBytes(16).toString('hex');
}

/** Tells why there is no answer. A response that has begun cannot become another one: it is cut off instead. */
function refusals({ emit, exchangeOf, pages }: HttpAppOptions): ErrorRequestHandler {
  return async (error: unknown, req, res, _next) => {
    if (isGone(error)) return;
    const exchange = exchangeOf(res);
    const told = toldOf(error);
    const { status } = told;
    exchange.thrown = error;
    if (error instanceof HttpAnswer)
      emit({ kind: 'answered', ...exchange.asking, status, message: error.message });
    else if (error instanceof Refusal) emit({ kind: 'refused', ...exchange.asking, status, refusal: error });
    else emit({ kind: 'failed', ...exchange.asking, status, error });
    if (res.headersSent) {
      exchange.cut('failed');
      return;
    }
    try {
      // An unsafe path is no page's, and whoever sent it meant one.
      const page = findPage(pages, exchange.path ?? exchange.asking.asked);
      const types = page?.prefersJson
        ? ['application/json', 'text/plain']
        : ['text/plain', 'application/json'];
      const json = req.accepts(types) === 'application/json';
      const text = Buffer.from(json ? toldJson(told) : toldText(told));
      res.writeHead(status, {
        'Content-Type': json ? 'application/json; charset=utf-8' : 'text/plain; charset=utf-8',
        'Content-Length': String(text.length),
        'Cache-Control': 'no-store',
        Vary: 'Accept',
        ...told.fields,
      });
      await exchange.end(exchange.method === 'HEAD' ? undefined : text);
    } catch (failure) {
      if (!isGone(failure)) {
        emit({ kind: 'fault', server: 'http', error: failure, what: 'write an answer' });
        exchange.cut('failed');
      }
    }
  };
}
