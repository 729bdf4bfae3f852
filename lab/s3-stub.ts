import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * An S3 engine in memory, as far as a store asks of one, that may be made to do what real ones do on bad days. It checks no
 * signature: real engines do (lab/ceph.ts).
 */
export interface StubHabits {
  /** How it takes `If-Match` on a PUT; `ignored`: as if it were not there, `refused`: nothing fits. */
  readonly ifMatch?: 'quoted' | 'bare' | 'ignored' | 'refused';
  /** `unknown`: 501. */
  readonly ifNoneMatch?: 'kept' | 'ignored' | 'unknown';
  /** Names on a page of a list, at most. */
  readonly page?: number;
}

export interface StubObject {
  readonly bytes: Buffer;
  readonly etag: string;
  readonly modified: Date;
  /** `x-amz-meta-…`, as they came. */
  readonly metadata: Readonly<Record<string, string>>;
}

export interface StubRequest {
  readonly method: string;
  /** Empty for the bucket itself. */
  readonly key: string;
  readonly query: URLSearchParams;
  readonly message: IncomingMessage;
  readonly response: ServerResponse;
}

/** Answers itself, and true; or false, and the engine answers. */
export type StubTrick = (request: StubRequest) => boolean | Promise<boolean>;

export class S3Stub {
  /** By key. */
  readonly objects = new Map<string, StubObject>();
  /** `GET key`, in order. */
  readonly asked: string[] = [];
  /** Looked at before each request, its body unread. */
  trick: StubTrick = () => false;
  /** Done after a request had its effect and before it is answered; true: the answer is lost. */
  lose: StubTrick = () => false;
  readonly bucket: string;
  readonly #habits: Required<StubHabits>;
  readonly #server: Server;

  private constructor(bucket: string, habits: StubHabits) {
    this.bucket = bucket;
    this.#habits = { ifMatch: 'quoted', ifNoneMatch: 'kept', page: 1000, ...habits };
    this.#server = createServer((message, response) => {
      this.#answer(message, response).catch(() => response.destroy());
    });
  }

  static async start(bucket: string, habits: StubHabits = {}): Promise<S3Stub> {
    const stub = new S3Stub(bucket, habits);
    stub.#server.listen(0, '127.0.0.1');
    await once(stub.#server, 'listening');
    return stub;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    if (this.#server.listening) await once(this.#server, 'close');
  }

  set(key: string, bytes: Uint8Array, metadata: Record<string, string> = {}): StubObject {
    const etag = createHash('md5').update(bytes).digest('hex');
    const object = { bytes: Buffer.from(bytes), etag, modified: new Date(), metadata };
    this.objects.set(key, object);
    return object;
  }

  async #answer(message: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname, searchParams: query } = new URL(message.url ?? '/', 'http://stub');
    const [bucket = '', ...names] = pathname.slice(1).split('/').map(decodeURIComponent);
    const request = { method: message.method ?? '', key: names.join('/'), query, message, response };
    this.asked.push(`${request.method} ${request.key}`);
    response.setHeader('Server', 'stub');
    if (await this.trick(request)) return;
    if (bucket !== this.bucket) return refuse(request, 404, 'NoSuchBucket');
    switch (request.method) {
      case 'PUT':
        return message.headers['x-amz-copy-source'] === undefined ? this.#put(request) : this.#copy(request);
      case 'DELETE':
        this.objects.delete(request.key);
        response.writeHead(204).end();
        return;
      default:
        return request.key === '' ? this.#list(request) : this.#get(request);
    }
  }

  async #put(request: StubRequest): Promise<void> {
    const { key, message, response } = request;
    const pieces: Buffer[] = [];
    for await (const piece of message) pieces.push(piece as Buffer);
    const bytes = Buffer.concat(pieces);
    const md5 = createHash('md5').update(bytes).digest('base64');
    if (message.headers['content-md5'] !== md5) return refuse(request, 400, 'BadDigest');
    const { 'if-match': ifMatch, 'if-none-match': ifNoneMatch } = message.headers;
    const { ifMatch: form, ifNoneMatch: habit } = this.#habits;
    const before = this.objects.get(key);
    if (ifNoneMatch !== undefined && habit === 'unknown') return refuse(request, 501, 'NotImplemented');
    if (ifNoneMatch === '*' && habit === 'kept' && before) return refuse(request, 412, 'PreconditionFailed');
    if (ifMatch !== undefined && form !== 'ignored') {
      if (!before) return refuse(request, 404, 'NoSuchKey');
      const fits = form === 'quoted' ? `"${before.etag}"` : form === 'bare' ? before.etag : '';
      if (ifMatch !== fits) return refuse(request, 412, 'PreconditionFailed');
    }
    const metadata: Record<string, string> = {};
    for (const [name, value] of Object.entries(message.headers))
      if (name.startsWith('x-amz-meta-')) metadata[name] = String(value);
    const { etag } = this.set(key, bytes, metadata);
    if (await this.lose(request)) {
      message.socket.destroy();
      return;
    }
    response.writeHead(200, { ETag: `"${etag}"` }).end();
  }

  async #copy(request: StubRequest): Promise<void> {
    const [, ...names] = String(request.message.headers['x-amz-copy-source'])
      .split('/')
      .map(decodeURIComponent);
    const source = this.objects.get(names.join('/'));
    if (!source) return refuse(request, 404, 'NoSuchKey');
    const { etag } = this.set(request.key, source.bytes, { ...source.metadata });
    const body = `<CopyObjectResult><ETag>"${etag}"</ETag></CopyObjectResult>`;
    request.response.writeHead(200, { 'Content-Type': 'application/xml' }).end(body);
  }

  async #get(request: StubRequest): Promise<void> {
    const { key, message, response, method } = request;
    const object = this.objects.get(key);
    if (!object) return refuse(request, 404, 'NoSuchKey');
    const { bytes, etag, modified, metadata } = object;
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(message.headers.range ?? '') ?? [];
    const from = Number(first ?? 0);
    const to = Math.min(Number(last ?? bytes.length - 1), bytes.length - 1);
    if (first !== undefined && from > to) return refuse(request, 416, 'InvalidRange');
    response.writeHead(first === undefined ? 200 : 206, {
      ...metadata,
      ETag: `"${etag}"`,
      'Last-Modified': modified.toUTCString(),
      'Content-Length': to - from + 1,
      ...(first === undefined ? {} : { 'Content-Range': `bytes ${from}-${to}/${bytes.length}` }),
    });
    response.end(method === 'HEAD' ? undefined : bytes.subarray(from, to + 1));
  }

  #list(request: StubRequest): void {
    const { query, response } = request;
    const prefix = query.get('prefix') ?? '';
    const delimiter = query.get('delimiter');
    const after = query.get('continuation-token') ?? '';
    const names = new Map<string, StubObject | undefined>();
    for (const [key, object] of this.objects) {
      if (!key.startsWith(prefix)) continue;
      const end = delimiter === null ? -1 : key.indexOf(delimiter, prefix.length);
      if (end === -1) names.set(key, object);
      else names.set(key.slice(0, end + 1), undefined);
    }
    const left = [...names.keys()].sort().filter((name) => name > after);
    const page = left.slice(0, Math.min(this.#habits.page, Number(query.get('max-keys') ?? 1000)));
    const next = left.length > page.length ? page.at(-1) : undefined;
    const each = page.map((name) => {
      const object = names.get(name);
      const shown = encodeURIComponent(name);
      return object
        ? `<Contents><Key>${shown}</Key><Size>${object.bytes.length}</Size><ETag>&quot;${object.etag}&quot;</ETag><LastModified>${object.modified.toISOString()}</LastModified></Contents>`
        : `<CommonPrefixes><Prefix>${shown}</Prefix></CommonPrefixes>`;
    });
    const token = next === undefined ? '' : `<NextContinuationToken>${next}</NextContinuationToken>`;
    response
      .writeHead(200, { 'Content-Type': 'application/xml' })
      .end(
        `<?xml version="1.0"?><ListBucketResult><Name>${this.bucket}</Name><EncodingType>url</EncodingType><IsTruncated>${
          next !== undefined
        }</IsTruncated>${token}${each.join('')}</ListBucketResult>`,
      );
  }
}

/** An error as S3 says it; to HEAD it has no room for the name. */
export function refuse({ method, message, response }: StubRequest, status: number, code: string): void {
  message.resume();
  const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`;
  response.writeHead(status, { 'Content-Type': 'application/xml' }).end(method === 'HEAD' ? undefined : body);
}
