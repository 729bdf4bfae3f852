import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after } from 'node:test';

/*
 * An S3 engine of one thread, which does one request after the other: what it holds can be looked at, copied and put back,
 * and a test is told of each request before it is done. It is no judge of how S3 is spoken; Ceph is.
 */

interface Stored {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly modified: Date;
  readonly metadata: Readonly<Record<string, string>>;
}

/** What a bucket holds, by key. */
export type Held = ReadonlyMap<string, Stored>;

export interface Asked {
  readonly method: string;
  readonly bucket: string;
  readonly key: string;
}

/** Names on a page of a list: few, so that lists go on. */
const PAGE = 7;

export class S3Stub {
  /** Waited for before a request is done. */
  before: (asked: Asked) => Promise<void> = async () => {};
  /** Told what a bucket holds whenever that is something else. */
  changed: (asked: Asked, held: Held) => void = () => {};
  readonly #buckets = new Map<string, Map<string, Stored>>();

  /** Starts one, and makes it the engine of this process and of what it starts. */
  static async start(): Promise<S3Stub> {
    const stub = new S3Stub();
    const server = createServer((request, response) => {
      stub.#answer(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    after(() => {
      server.closeAllConnections();
      server.close();
    });
    Object.assign(process.env, {
      AWS_ENDPOINT_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
    });
    return stub;
  }

  /** A copy of what a bucket holds. */
  held(bucket: string): Held {
    return new Map(this.#bucket(bucket));
  }

  /** Lets a bucket hold this and nothing else. */
  hold(bucket: string, held: Held): void {
    this.#buckets.set(bucket, new Map(held));
  }

  /** Another program writes into a bucket. */
  write(bucket: string, key: string, bytes: Uint8Array | undefined): void {
    if (bytes) this.#bucket(bucket).set(key, stored(Buffer.from(bytes), {}));
    else this.#bucket(bucket).delete(key);
  }

  #bucket(name: string): Map<string, Stored> {
    const bucket = this.#buckets.get(name) ?? new Map<string, Stored>();
    this.#buckets.set(name, bucket);
    return bucket;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const url = new URL(request.url ?? '', 'http://stub');
    const [, bucket = '', ...rest] = url.pathname.split('/').map(decodeURIComponent);
    const { method = '' } = request;
    const asked = { method, bucket, key: rest.join('/') };
    await this.before(asked);
    this.#do(asked, url.searchParams, request.headers, Buffer.concat(pieces), response);
    if (method !== 'GET' && method !== 'HEAD') this.changed(asked, this.held(bucket));
  }

  #do(
    { method, bucket, key }: Asked,
    query: URLSearchParams,
    headers: IncomingMessage['headers'],
    body: Buffer,
    response: ServerResponse,
  ): void {
    const keys = this.#bucket(bucket);
    const there = keys.get(key);
    const fail = (status: number, code: string) => {
      response.writeHead(status, { 'Content-Type': 'application/xml' });
      response.end(method === 'HEAD' ? '' : `<Error><Code>${code}</Code><Message>${code}</Message></Error>`);
    };
    const xml = (text: string, more = {}) => {
      response.writeHead(200, { 'Content-Type': 'application/xml', ...more });
      response.end(`<?xml version="1.0" encoding="UTF-8"?>${text}`);
    };
    if (method === 'GET' && query.get('list-type') === '2') return xml(listing(bucket, keys, query));
    if (method === 'DELETE') {
      keys.delete(key);
      response.writeHead(204).end();
      return;
    }
    if (method === 'PUT') {
      const { 'x-amz-copy-source': source, 'if-match': match, 'if-none-match': none } = headers;
      if (none === '*' && there) return fail(412, 'PreconditionFailed');
      if (match !== undefined && !there) return fail(404, 'NoSuchKey');
      if (match !== undefined && match.replaceAll('"', '') !== there?.etag)
        return fail(412, 'PreconditionFailed');
      if (typeof source === 'string') {
        const [, ...from] = source.replace(/^\//, '').split('/').map(decodeURIComponent);
        const original = keys.get(from.join('/'));
        if (!original) return fail(404, 'NoSuchKey');
        keys.set(key, { ...original, modified: new Date() });
        return xml(`<CopyObjectResult><ETag>"${original.etag}"</ETag></CopyObjectResult>`);
      }
      const metadata = Object.entries(headers).filter(([name]) => name.startsWith('x-amz-meta-'));
      const next = stored(body, Object.fromEntries(metadata) as Record<string, string>);
      keys.set(key, next);
      response.writeHead(200, { ETag: `"${next.etag}"` }).end();
      return;
    }
    if (!there) return fail(404, 'NoSuchKey');
    const { bytes, etag, modified, metadata } = there;
    const [, from, to] = /^bytes=([0-9]+)-([0-9]+)$/.exec(headers.range ?? '') ?? [];
    const part = from === undefined ? bytes : bytes.subarray(Number(from), Number(to) + 1);
    response.writeHead(from === undefined ? 200 : 206, {
      'Content-Length': part.length,
      ETag: `"${etag}"`,
      'Last-Modified': modified.toUTCString(),
      ...(from === undefined ? {} : { 'Content-Range': `bytes ${from}-${to}/${bytes.length}` }),
      ...metadata,
    });
    response.end(method === 'HEAD' ? undefined : part);
  }
}

function stored(bytes: Buffer, metadata: Readonly<Record<string, string>>): Stored {
  return { bytes, etag: createHash('md5').update(bytes).digest('hex'), modified: new Date(), metadata };
}

function listing(bucket: string, keys: Held, query: URLSearchParams): string {
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter');
  const found = new Map<string, string>();
  for (const key of [...keys.keys()].sort()) {
    if (!key.startsWith(prefix)) continue;
    const end = delimiter ? key.indexOf(delimiter, prefix.length) : -1;
    const name = encodeURIComponent(end < 0 ? key : key.slice(0, end + 1));
    const { bytes, etag } = keys.get(key) as Stored;
    found.set(
      name,
      end < 0
        ? `<Contents><Key>${name}</Key><Size>${bytes.length}</Size><ETag>"${etag}"</ETag></Contents>`
        : `<CommonPrefixes><Prefix>${name}</Prefix></CommonPrefixes>`,
    );
  }
  const all = [...found].sort(([one], [other]) => (one < other ? -1 : 1));
  const left = all.filter(([name]) => name > (query.get('continuation-token') ?? ''));
  const page = left.slice(0, PAGE);
  const more = left.length > page.length;
  return [
    `<ListBucketResult><Name>${bucket}</Name><EncodingType>url</EncodingType>`,
    `<IsTruncated>${more}</IsTruncated>`,
    more ? `<NextContinuationToken>${page.at(-1)?.[0]}</NextContinuationToken>` : '',
    ...page.map(([, text]) => text),
    '</ListBucketResult>',
  ].join('');
}
