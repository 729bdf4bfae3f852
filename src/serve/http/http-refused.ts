import type { Request } from 'express';
import { Refusal } from '../../errors/refusal.ts';
import type { Emit } from '../emit.ts';
import { HttpAnswer } from './http-answer.ts';
import type { Exchange } from './http-exchange.ts';
import { findPage } from './http-page.ts';
import { isGone } from './http-send.ts';
import { toldJson, toldOf, toldText } from './http-status.ts';
import type { Pages } from './http-types.ts';

/** Tells why there is no answer. A response that has begun cannot become another one: it is cut off instead. */
export async function tellWhyNot(
  exchange: Exchange,
  error: unknown,
  { pages, emit }: { readonly pages: Pages; readonly emit: Emit },
): Promise<void> {
  if (isGone(error)) return;
  const { res } = exchange;
  // It was born as the application's (`expressServer`).
  const req = exchange.req as Request;
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
    const types = page?.prefersJson ? ['application/json', 'text/plain'] : ['text/plain', 'application/json'];
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
}
