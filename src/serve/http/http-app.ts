import { randomBytes } from 'node:crypto';
import express, { type ErrorRequestHandler, type RequestHandler } from 'express';
import { Refusal } from '../../errors/refusal.ts';
import type { Site } from '../../release/site.ts';
import type { ChunkPool } from '../chunk-pool.ts';
import type { Exchange } from './http-exchange.ts';
import { answerFile } from './http-file.ts';
import { answerPage, findPage } from './http-page.ts';
import { isGone, sendFile } from './http-send.ts';
import { asRefusal, HttpRefusal, refusalJson, refusalText, statusOf } from './http-status.ts';
import type { HttpEvent, HttpLimits, HttpLog, Pages } from './http-types.ts';

/** What the application answers from. */
export interface HttpAppOptions {
  readonly site: Site;
  readonly pages: Pages;
  readonly log: HttpLog;
  readonly limits: HttpLimits;
  readonly pool: ChunkPool;
  /** The exchange that the edge opened for this response. */
  exchangeOf(res: object): Exchange;
  onEvent(event: HttpEvent): void;
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
    if (typeof target !== 'string') throw target;
    if ((method === 'GET' || method === 'HEAD') && hasBody(req.headers)) {
      // RFC 9110 §9.3.1: a body on GET has no meaning and is how requests are smuggled past proxies.
      throw new HttpRefusal(413, 'too-large', `A ${method} request has no body.`, { Connection: 'close' });
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
    if (page === undefined) next();
    else await answerPage(exchange, page);
  };
}

function files({ site, pool, limits, exchangeOf, onEvent }: HttpAppOptions): RequestHandler {
  return async (req, res) => {
    const exchange = exchangeOf(res);
    const { method, path, id, remote } = exchange;
    if (method !== 'GET' && method !== 'HEAD') {
      throw new HttpRefusal(405, 'malformed', 'Files are read with GET and HEAD.', {
        Allow: 'GET, HEAD',
        Connection: 'close',
      });
    }
    if (path === undefined) throw new Refusal('absent', 'There is no such path.');

    const resource = await site.find(path);
    if (resource instanceof Refusal) throw resource;
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
    const open = await resource.open();
    try {
      if (method === 'HEAD') {
        await open.check();
        head();
        await exchange.end();
      } else {
        await sendFile(exchange, open, answer, head, {
          pool,
          chunkTimeoutMs: limits.chunkTimeoutMs,
          onProgress: (bytes, total) => onEvent({ kind: 'progress', id, remote, path, bytes, total }),
        });
      }
    } finally {
      await open.close();
    }
  };
}

/** If-Range is not a list: Node hands it over as a string, or joined by commas, which matches no tag. */
function one(field: string | string[] | undefined): string | undefined {
  return Array.isArray(field) ? field.join(', ') : field;
}

function randomBoundary(): string {
  return randomBytes(16).toString('hex');
}

/** Writes refusals. A response that has begun cannot become one: it is cut off instead. */
function refusals({ log, exchangeOf }: HttpAppOptions): ErrorRequestHandler {
  return async (error: unknown, req, res, _next) => {
    if (isGone(error)) return;
    const exchange = exchangeOf(res);
    const refusal = asRefusal(error);
    exchange.refusal = refusal;
    if (error !== refusal) log.error({ err: error, path: exchange.path }, 'http: a request failed');
    if (res.headersSent) {
      exchange.cut('cut');
      return;
    }
    try {
      const json = req.accepts(['text/plain', 'application/json']) === 'application/json';
      const text = Buffer.from(json ? refusalJson(refusal) : refusalText(refusal));
      res.writeHead(refusal instanceof HttpRefusal ? refusal.status : statusOf(refusal.code), {
        'Content-Type': json ? 'application/json; charset=utf-8' : 'text/plain; charset=utf-8',
        'Content-Length': String(text.length),
        'Cache-Control': 'no-store',
        Vary: 'Accept',
        ...(refusal instanceof HttpRefusal ? refusal.fields : {}),
      });
      await exchange.end(exchange.method === 'HEAD' ? undefined : text);
    } catch (failure) {
      if (!isGone(failure)) {
        log.error({ err: failure }, 'http: a refusal could not be written');
        exchange.cut('cut');
      }
    }
  };
}
