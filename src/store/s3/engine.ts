import { Readable } from 'node:stream';
import type { S3Client, S3ClientConfig } from '@aws-sdk/client-s3';
import { IoError } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { boundedPieces } from './body.ts';
import { asksForCredentials, CutShort, explainFault } from './fault.ts';
import type { BucketPlace } from './location.ts';

/*
 * The SDK and what is set on it. It is loaded when a bucket is first asked, since it takes as long as all else together.
 * Everything that it takes from its surroundings (endpoint, region, credentials) it takes as its documentation says.
 */

export type Sdk = typeof import('@aws-sdk/client-s3');

/** What `Engine.ask` gives to who asks. */
export interface Asking {
  readonly client: S3Client;
  readonly sdk: Sdk;
  /** For `client.send`. */
  readonly abortSignal: AbortSignal;
}

export interface EngineOptions {
  /** Milliseconds that an engine may be silent, and that a small request may take in all with its repetitions. */
  readonly patience?: { readonly silent: number; readonly whole: number };
}

const PATIENCE = { silent: 20_000, whole: 60_000 };
/** Milliseconds until a connection stands. */
const CONNECT = 5_000;
const MOST_SOCKETS = 512;
/** How often a request is made before its fault is reported; the pauses between grow. */
export const ATTEMPTS = 4;
/** Bytes a second: what is slower is taken for an engine that sends for ever. */
const SLOWEST = 64 * 1024;
/** Bytes of an answer that is no content: a page of a list, an error. */
const MAX_ANSWER = 8 * 1024 * 1024;

interface Connection {
  readonly client: S3Client;
  readonly sdk: Sdk;
  readonly endpoint: string;
}

/** The engine behind one place in a bucket: one client, made when it is first needed. */
export class Engine {
  readonly #place: BucketPlace;
  readonly #patience: { readonly silent: number; readonly whole: number };
  #connection: Promise<Connection> | undefined;
  /** What it calls itself (`Server`), once it has answered. */
  #server = '';

  constructor(place: BucketPlace, { patience = PATIENCE }: EngineOptions = {}) {
    this.#place = place;
    this.#patience = patience;
  }

  /** How messages call it. */
  async name(): Promise<string> {
    const { endpoint } = await this.#connect();
    return this.#server === '' ? endpoint : `${endpoint} (${this.#server})`;
  }

  /**
   * Asks. Where credentials were refused, those that stand in their place by now are tried once.
   *
   * @param subject of a message: what is asked for.
   * @param doing `read`, `written` …
   * @param octets bytes that are to go over the wire: the more, the longer it may take.
   * @throws EngineFault
   */
  async ask<T>(subject: string, doing: string, work: (asking: Asking) => Promise<T>, octets = 0): Promise<T> {
    const abortSignal = AbortSignal.timeout(this.#patience.whole + Math.ceil((octets * 1000) / SLOWEST));
    let renewed = false;
    for (let cuts = 1; ; ) {
      const connecting = this.#connect();
      const { client, sdk, endpoint } = await connecting;
      try {
        return await work({ client, sdk, abortSignal });
      } catch (error) {
        if (error instanceof Refusal || error instanceof IoError) throw error;
        if (error instanceof CutShort && !abortSignal.aborted && ++cuts < ATTEMPTS) continue;
        if (!renewed && asksForCredentials(error)) {
          renewed = true;
          if (this.#connection === connecting) this.#connection = undefined;
          continue;
        }
        // Whatever broke because time was up.
        const cause = abortSignal.aborted ? abortSignal.reason : error;
        throw explainFault(this.#place, subject, doing, endpoint, cause);
      }
    }
  }

  #connect(): Promise<Connection> {
    this.#connection ??= this.#make().catch((error: unknown) => {
      this.#connection = undefined;
      throw error;
    });
    return this.#connection;
  }

  async #make(): Promise<Connection> {
    // The SDK advertises for later versions of Node.js on standard error.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
    const sdk = await import('@aws-sdk/client-s3');
    const { endpoint, region } = await surroundings(sdk, this.#place);
    const client = new sdk.S3Client({
      ...SETTINGS,
      region,
      forcePathStyle: pathStyle() ?? endpoint !== undefined,
      requestHandler: {
        connectionTimeout: Math.min(CONNECT, this.#patience.silent),
        socketTimeout: this.#patience.silent,
        throwOnRequestTimeout: true,
        // The default, 50, would let a few objects that come slowly keep all others waiting.
        httpAgent: { keepAlive: true, maxSockets: MOST_SOCKETS },
        httpsAgent: { keepAlive: true, maxSockets: MOST_SOCKETS },
      },
    });
    client.middlewareStack.add(
      (next, context) => async (args) => {
        const result = await next(args);
        const { statusCode, headers, body } = result.response as {
          statusCode: number;
          headers: Record<string, string>;
          body: unknown;
        };
        this.#server = printable(headers.server ?? '');
        if (body instanceof Readable && !(context.commandName === 'GetObjectCommand' && statusCode < 300)) {
          const bounded = Readable.from(boundedPieces(body, MAX_ANSWER));
          Object.assign(result.response as object, { body: bounded });
        }
        return result;
      },
      { step: 'deserialize', priority: 'low', name: 'bootsealBounds' },
    );
    return { client, sdk, endpoint: endpoint ?? `AWS (${region})` };
  }
}

/** What the SDK would say on its own, with nobody to read it. */
const SILENT = { trace() {}, debug() {}, info() {}, warn() {}, error() {} };

/** A process runs on while its credentials file is replaced: what is read again is read from the disk. */
const SETTINGS: S3ClientConfig & { readonly ignoreCache: boolean } = {
  logger: SILENT,
  maxAttempts: ATTEMPTS,
  ignoreCache: true,
  // Checksums as of 2024 are what other engines answer 411 or 501 to; SHA-256 and Content-MD5 are sent instead.
  requestChecksumCalculation: 'WHEN_REQUIRED',
  responseChecksumValidation: 'WHEN_REQUIRED',
};

/** Which endpoint and region are named in the surroundings of this process. */
async function surroundings(sdk: Sdk, { state }: BucketPlace) {
  const looking = new sdk.S3Client({ logger: SILENT });
  try {
    const endpoint = await looking.config.serviceConfiguredEndpoint?.();
    if (endpoint !== undefined && !/^https?:\/\/[^\s/?#@]+\/?$/.test(endpoint))
      throw new UsageError(
        `The endpoint for ${state} must be "http://HOST:PORT" or "https://HOST", without a name, a password or a path.`,
      );
    const region = await looking.config.region().catch((error: unknown) => {
      // What the SDK says where nobody named one.
      if (error instanceof Error && error.message === 'Region is missing') return undefined;
      throw new UsageError(`The region of ${state} cannot be told: ${String(error)}.`);
    });
    if (region === undefined && endpoint === undefined)
      throw new UsageError(
        `${state} needs AWS_REGION, or AWS_ENDPOINT_URL_S3 for an engine that is not Amazon's.`,
      );
    // What engines other than Amazon's call their one region.
    return { endpoint: endpoint?.replace(/\/$/, ''), region: region ?? 'us-east-1' };
  } finally {
    looking.destroy();
  }
}

/** The SDK knows no variable for it. Undefined where nothing was said. */
function pathStyle(): boolean | undefined {
  const said = process.env.BOOTSEAL_S3_PATH_STYLE;
  if (said === undefined || said === '') return undefined;
  if (said !== 'yes' && said !== 'no')
    throw new UsageError('BOOTSEAL_S3_PATH_STYLE is "yes" or "no", or it is not set.');
  return said === 'yes';
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, '?').slice(0, 80);
}
