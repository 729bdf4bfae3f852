import { Refusal } from '../../errors/refusal.ts';
import type { Metrics } from '../metrics.ts';
import { toldText } from './http-status.ts';
import type { Page, PageAnswer } from './http-types.ts';

/** An answer of plain text. */
export function textAnswer(status: number, body: string): PageAnswer {
  return { status, headers: { 'Content-Type': 'text/plain; charset=utf-8' }, body };
}

/** An answer of one JSON value. */
export function jsonAnswer(status: number, value: unknown): PageAnswer {
  return {
    status,
    headers: { 'Content-Type': 'application/json; charset=utf-8' },
    body: `${JSON.stringify(value)}\n`,
  };
}

/** `/healthz`: this process answers. Nothing else: a supervisor that restarts it repairs nothing else. */
export function healthPage(): Page {
  return { vital: true, handle: () => textAnswer(200, 'ok\n') };
}

/**
 * `/readyz`: machines may be sent here.
 *
 * @param ready why not: 503 with the reason; or what an operator should know all the same, a sentence each.
 */
export function readyPage(ready: () => Refusal | readonly string[]): Page {
  return {
    vital: true,
    handle() {
      const state = ready();
      if (state instanceof Refusal) return textAnswer(503, toldText(state));
      return textAnswer(200, ['ready', ...state.map((warning) => `warning: ${warning}`), ''].join('\n'));
    },
  };
}

/** `/metrics`, in Prometheus' text format. */
export function metricsPage({ registry }: Metrics): Page {
  return {
    vital: true,
    async handle() {
      return {
        status: 200,
        headers: { 'Content-Type': registry.contentType },
        body: await registry.metrics(),
      };
    },
  };
}
