import { codeOf, IoError } from '../../errors/io.ts';
import type { BucketPlace } from './location.ts';

/**
 * What an engine did not do. The sentence names the key, the bucket and the engine, and nothing that was secret: what the
 * SDK says is not passed on, but for the name of the error.
 */
export class EngineFault extends IoError {
  /** Of HTTP; undefined where there was no answer. */
  readonly status: number | undefined;
  /** As S3 calls it (`NoSuchKey`), or the system (`ECONNREFUSED`), or the SDK. */
  readonly error: string;
  /** How often it was asked. Above 1 an earlier request may have done what the last was refused for. */
  readonly attempts: number;

  constructor(message: string, path: string, facts: FaultFacts) {
    super(message, path, facts.code);
    this.name = 'EngineFault';
    this.status = facts.status;
    this.error = facts.error;
    this.attempts = facts.attempts;
  }

  /** Only this means that a key is not there: a bucket that is not there, or may not be read, is a fault. */
  get isNoKey(): boolean {
    return this.status === 404 && this.error === 'NoSuchKey';
  }

  /** The condition of a write did not hold. */
  get isUnmet(): boolean {
    return this.status === 412;
  }

  /** Whether what was asked for may have happened all the same, or may yet. */
  get isAmbiguous(): boolean {
    return this.status === undefined || this.status >= 500 || this.attempts > 1;
  }
}

export interface FaultFacts {
  readonly status: number | undefined;
  readonly error: string;
  readonly attempts: number;
  readonly code: string | undefined;
}

/** What was asked for; undefined where the engine says that there is no such key. */
export async function absentIfNoKey<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof EngineFault && error.isNoKey) return undefined;
    throw error;
  }
}

/** An answer that ended before it was whole. It is asked for again. */
export class CutShort extends Error {}

/** An answer that does not follow the protocol. */
export class NotS3 extends Error {
  /** Goes on after "it answers with". The SDK adds words of its own to messages. */
  readonly what: string;

  constructor(what: string) {
    super(what);
    this.what = what;
  }
}

/** Of credentials that are no longer, or not yet, good: others may have been put in their place. */
const CREDENTIALS = new Set([
  'ExpiredToken',
  'ExpiredTokenException',
  'TokenRefreshRequired',
  'InvalidToken',
  'InvalidAccessKeyId',
  'SignatureDoesNotMatch',
]);

/** True where other credentials might be let in. Answers to HEAD have no name: any 403 of theirs may be meant. */
export function asksForCredentials(error: unknown): boolean {
  const { status, error: name } = factsOf(error);
  return CREDENTIALS.has(name) || (status === 403 && (name === 'Unknown' || name === 'Forbidden'));
}

/**
 * @param place in which bucket.
 * @param subject of the sentence: the key, or the state.
 * @param doing `read`, `written` …
 * @param endpoint as the operator may know it.
 */
export function explainFault(
  place: BucketPlace,
  subject: string,
  doing: string,
  endpoint: string,
  error: unknown,
): EngineFault {
  const facts = factsOf(error);
  const why =
    error instanceof NotS3
      ? `the engine at ${endpoint} answers with ${error.what}`
      : reason(place, endpoint, facts, error);
  return new EngineFault(`${subject} cannot be ${doing}: ${why}.`, subject, facts);
}

function reason({ bucket }: BucketPlace, endpoint: string, facts: FaultFacts, error: unknown): string {
  const { status, error: name, attempts } = facts;
  const engine = `the engine at ${endpoint}`;
  const tries = attempts > 1 ? `, also after ${attempts} tries` : '';
  if (error instanceof CutShort) return `${engine} ends its answers before they are whole`;
  if (name === 'NoSuchBucket' || name === 'NotFound') return `there is no bucket "${bucket}" at ${endpoint}`;
  if (name === 'CredentialsProviderError' || name === 'NoCredentials')
    return `there are no credentials for the bucket "${bucket}" at ${endpoint}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE`;
  if (/^Expired|^TokenRefresh|^InvalidToken$/.test(name))
    return `the credentials for the bucket "${bucket}" are no longer good at ${endpoint} (${name})`;
  if (name === 'InvalidAccessKeyId') return `${engine} does not know this access key (${name})`;
  if (name === 'SignatureDoesNotMatch') return `${engine} expects another secret key (${name})`;
  if (name === 'RequestTimeTooSkewed')
    return `the clocks of this machine and of ${endpoint} differ (${name})`;
  if (status === 301 || status === 307 || name === 'AuthorizationHeaderMalformed')
    return `the bucket "${bucket}" is in another region than ${endpoint} serves: set AWS_REGION`;
  if (status === 401 || status === 403)
    return `${engine} denies access to the bucket "${bucket}" (${name === 'Unknown' ? status : name})`;
  if (name === 'TimeoutError' || name === 'AbortError') return `${engine} does not answer in time${tries}`;
  if (status !== undefined && status >= 300)
    return `${engine} answers ${status}${name === 'Unknown' ? '' : ` (${name})`}${tries}`;
  if (status === undefined && facts.code !== undefined)
    return `${engine} cannot be reached (${name})${tries}`;
  return `${engine} answers with something that is not S3's`;
}

function factsOf(error: unknown): FaultFacts {
  if (error instanceof EngineFault) return error;
  const code = codeOf(error);
  const thrown = error instanceof Error ? error : new Error();
  const metadata = '$metadata' in thrown ? thrown.$metadata : undefined;
  const { httpStatusCode, attempts } = (metadata ?? {}) as { httpStatusCode?: unknown; attempts?: unknown };
  return {
    status: typeof httpStatusCode === 'number' ? httpStatusCode : undefined,
    error: code ?? nameOf(thrown),
    attempts: typeof attempts === 'number' ? attempts : 1,
    code,
  };
}

/** An engine chooses what an error is called. */
function nameOf({ name, message }: Error): string {
  if (name === 'Error' && /credential/i.test(message)) return 'NoCredentials';
  return /^[A-Za-z][A-Za-z0-9.]{0,63}$/.test(name) && name !== 'Error' && name !== 'UnknownError'
    ? name
    : 'Unknown';
}
