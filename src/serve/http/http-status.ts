import { Refusal, type RefusalCode } from '../../errors/refusal.ts';

/**
 * The HTTP status of a refusal.
 *
 * Only `absent` is 404: a machine that is told "not found" for a file that drifted reports the wrong fault
 * (a missing file told as a hash mismatch, and the reverse, cost others days). What the server has but will
 * not send is 503 where an operator can repair it, 403 where it is a judgement.
 */
export function statusOf(code: RefusalCode): number {
  switch (code) {
    case 'absent':
      return 404;
    case 'unsafe-path':
    case 'malformed':
      return 400;
    case 'too-large':
      return 413;
    case 'drifted':
    case 'unreachable':
    case 'no-verdict':
      return 503;
    // What was good and is over, or not begun: no other place has it either.
    case 'stale':
    case 'expired':
    case 'not-yet-valid':
    case 'revoked':
    case 'weak-algorithm':
      return 410;
    default:
      return 403;
  }
}

/** A refusal of HTTP's own: its status and fields are not those of its code. */
export class HttpRefusal extends Refusal {
  readonly status: number;
  readonly fields: Readonly<Record<string, string>>;

  constructor(status: number, code: RefusalCode, message: string, fields: Record<string, string> = {}) {
    super(code, message, { status });
    this.name = 'HttpRefusal';
    this.status = status;
    this.fields = fields;
  }
}

/** A refusal for whatever was thrown. What is no refusal is ours to repair, and none of the client's business. */
export function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  return new HttpRefusal(500, 'no-verdict', 'The server failed to answer; its log says why.');
}

/** The text of a refusal, for people and for `curl -f` logs: code, sentence. Facts stay in the log. */
export function refusalText(refusal: Refusal): string {
  return `${refusal.code}: ${refusal.message}\n`;
}

/** The same for programs. */
export function refusalJson(refusal: Refusal): string {
  return `${JSON.stringify({ code: refusal.code, message: refusal.message })}\n`;
}
