import { codeOf, IoError } from '../../errors/io.ts';
import { Refusal, type RefusalCode } from '../../errors/refusal.ts';
import { HttpAnswer } from './http-answer.ts';

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
    case 'unauthorized':
      return 401;
    case 'misdirected':
      return 421;
    case 'too-often':
      return 429;
    case 'drifted':
    case 'unreachable':
    case 'no-verdict':
      return 503;
    // What was good and is over, or not begun: no other place has it either.
    case 'stale':
    case 'expired':
    case 'not-yet-valid':
    case 'revoked':
    case 'withdrawn':
    case 'weak-algorithm':
      return 410;
    default:
      return 403;
  }
}

/** What a client is told instead of what it asked for. */
export interface ToldAnswer {
  readonly status: number;
  /** Undefined where it is no verdict. */
  readonly code: RefusalCode | undefined;
  readonly message: string;
  readonly fields: Readonly<Record<string, string>>;
}

/**
 * What is told of whatever was thrown. Facts stay in the log, and so does all of what is ours to repair: paths of
 * this machine are none of a client's business. A disk or a limit may do again what it did not do now: 503.
 */
export function toldOf(error: unknown): ToldAnswer {
  if (error instanceof HttpAnswer) {
    const { status, message, fields } = error;
    return { status, code: undefined, message, fields };
  }
  if (error instanceof Refusal) {
    const { code, message } = error;
    return { status: statusOf(code), code, message, fields: fieldsOf(error) };
  }
  return error instanceof IoError || codeOf(error) !== undefined
    ? {
        status: 503,
        code: undefined,
        message: 'The server cannot read this now; its log says why.',
        fields: {},
      }
    : { status: 500, code: undefined, message: 'The server failed to answer; its log says why.', fields: {} };
}

/** The fields that an answer of its status must have: RFC 6750 §3 and RFC 9110 §10.2.3. */
function fieldsOf({ code, facts }: Refusal): Readonly<Record<string, string>> {
  // A request without a token is told no more than how to bring one.
  if (code === 'unauthorized')
    return {
      'WWW-Authenticate': `Bearer realm="bootseal"${facts.shown === true ? ', error="invalid_token"' : ''}`,
    };
  if (code === 'forbidden' && facts.scope !== undefined)
    return {
      'WWW-Authenticate': `Bearer realm="bootseal", error="insufficient_scope", scope="${facts.scope}"`,
    };
  return (code === 'too-often' || code === 'unreachable') && facts.seconds !== undefined
    ? { 'Retry-After': String(facts.seconds) }
    : {};
}

/** The text of it, for people and for `curl -f` logs: code, sentence. */
export function toldText({ code, message }: Pick<ToldAnswer, 'code' | 'message'>): string {
  return code === undefined ? `${message}\n` : `${code}: ${message}\n`;
}

/** The same for programs. */
export function toldJson({ code, message, status }: ToldAnswer): string {
  return `${JSON.stringify(code === undefined ? { status, message } : { code, message })}\n`;
}
