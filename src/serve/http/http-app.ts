import express, { type ErrorRequestHandler, type RequestHandler } from 'express';
import { demandRequest } from './http-admission.ts';
import { HttpAnswer } from './http-answer.ts';
import type { Exchange } from './http-exchange.ts';
import { answerFromSite, type HttpFilesOptions } from './http-files.ts';
import { answerPage, findPage } from './http-page.ts';
import { tellWhyNot } from './http-refused.ts';
import type { Pages } from './http-types.ts';

/** What the application answers from. */
export interface HttpAppOptions extends HttpFilesOptions {
  readonly pages: Pages;
  /** The exchange that the edge opened for this response. */
  exchangeOf(res: object): Exchange;
}

/**
 * The express application: admit, named pages, files of the site, refusals. Each step either answers or
 * passes on; whatever is thrown ends in the last one. Reading files goes by the same steps without the
 * application (`fileWay`), since its layers cost as much as a small file.
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

function admit({ exchangeOf }: HttpAppOptions): RequestHandler {
  return (_req, res, next) => {
    demandRequest(exchangeOf(res));
    next();
  };
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

function files(options: HttpAppOptions): RequestHandler {
  return (_req, res) => answerFromSite(options.exchangeOf(res), options);
}

function refusals(options: HttpAppOptions): ErrorRequestHandler {
  return (error: unknown, _req, res, _next) => tellWhyNot(options.exchangeOf(res), error, options);
}
