import type { RefusalCode } from '../errors/refusal.ts';
import { type BootOutcome, isFailure } from './boot-outcome.ts';
import type { Receipt, Stage } from './receipt.ts';

/** Which receipts are asked for. */
export interface BootQuery {
  /** `52:54:00:12:34:56` */
  readonly machine?: string;
  /** Those that somebody has to look at: refused, failed, stalled. */
  readonly failed?: boolean;
  readonly outcome?: BootOutcome;
  readonly stage?: Stage;
  readonly code?: RefusalCode;
  /** `NAME/VERSION` */
  readonly release?: string;
  /** Milliseconds since 1970: began then or later. */
  readonly since?: number;
  /** Began before. */
  readonly until?: number;
}

/** Whether a receipt is one of those that are asked for. */
export function fitsQuery(receipt: Receipt, query: BootQuery): boolean {
  const {
    machine,
    failed,
    outcome,
    stage,
    code,
    release,
    since = 0,
    until = Number.POSITIVE_INFINITY,
  } = query;
  if (receipt.began < since || receipt.began >= until) return false;
  if (machine !== undefined && receipt.machine !== machine) return false;
  if (failed === true && !isFailure(receipt.outcome)) return false;
  if (outcome !== undefined && receipt.outcome !== outcome) return false;
  if (stage !== undefined && receipt.stage !== stage) return false;
  if (code !== undefined && receipt.code !== code) return false;
  return release === undefined || receipt.release === release;
}
