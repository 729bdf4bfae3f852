import { randomBytes } from 'node:crypto';
import { Refusal } from '../../errors/refusal.ts';
import type { Resource, Site } from '../../release/site.ts';
import type { ChunkPool } from '../chunk-pool.ts';
import type { Emit } from '../emit.ts';
import { type FollowingClient, followsRedirects } from './follows-redirects.ts';
import { HttpAnswer } from './http-answer.ts';
import type { Exchange } from './http-exchange.ts';
import { answerFile } from './http-file.ts';
import { inTime, sendFile } from './http-send.ts';
import type { HttpLimits, Steer, Steered } from './http-types.ts';

/** What files are answered from. */
export interface HttpFilesOptions {
  readonly site: Site;
  readonly limits: HttpLimits;
  readonly pool: ChunkPool;
  readonly emit: Emit;
  /** Sends clients elsewhere for whole files; absent: nobody is sent anywhere. */
  readonly steer?: Steer | undefined;
}

/**
 * Answers with a file of the site, or sends its client elsewhere for it.
 *
 * @throws HttpAnswer 405, and what `answerFile` throws; Refusal; IoError; Gone.
 */
export async function answerFromSite(exchange: Exchange, options: HttpFilesOptions): Promise<void> {
  const { method, path, req, res } = exchange;
  const { site, pool, limits, emit, steer } = options;
  if (method !== 'GET' && method !== 'HEAD') {
    throw new HttpAnswer(405, 'Files are read with GET and HEAD.', {
      Allow: 'GET, HEAD',
      Connection: 'close',
    });
  }
  if (path === undefined) throw new Refusal('absent', 'There is no such path.');

  const { query, asking } = exchange;
  const resource = await site.find(path, { query, remote: asking.remote });
  if (resource instanceof Refusal) throw resource;
  const client = followerOf(exchange);
  const steered =
    client &&
    (steeredTo(steer, exchange, client, resource) ?? (await sentElsewhere(exchange, client, resource)));
  if (steered) {
    const { location, mirror, bytes } = steered;
    emit({ kind: 'redirected', ...asking, mirror, bytes });
    // 302, which every client knows that knows any; never kept, since the next answer may be another.
    res.writeHead(302, { Location: location, 'Cache-Control': 'no-store', 'Content-Length': '0' });
    await exchange.end();
    return;
  }
  const conditions = {
    ifMatch: req.headers['if-match'],
    ifNoneMatch: req.headers['if-none-match'],
    ifRange: one(req.headers['if-range']),
  };
  const answer = answerFile(resource, method, conditions, req.headers.range, randomBoundary);
  const head = (): void => {
    res.writeHead(answer.status, { ...answer.headers });
  };
  if (answer.status === 304) {
    head();
    await exchange.end();
    return;
  }

  const whole = answer.status === 200;
  const held = whole ? resource.held?.() : undefined;
  if (held) {
    head();
    exchange.total = held.length;
    const left = exchange.end(method === 'HEAD' ? undefined : held);
    // Most is taken at once, and nobody waits for that.
    await (res.socket?.writableLength ? inTime(exchange, limits.chunkTimeoutMs, left) : left);
    return;
  }
  // HEAD opens the file too: it must not promise bytes that GET would refuse as drifted.
  const open = await resource.open(method === 'HEAD' ? 'nothing' : whole ? 'whole' : 'parts');
  try {
    if (method === 'HEAD') {
      await open.check();
      head();
      await exchange.end();
    } else {
      await sendFile(exchange, open, answer, head, {
        pool,
        chunkTimeoutMs: limits.chunkTimeoutMs,
        onProgress: (bytes, total) => emit({ kind: 'progress', ...exchange.asking, bytes, total }),
      });
    }
  } finally {
    await open.close();
  }
}

/** Whole files alone, and no conditions: who asks for a part has begun, and goes on where it is. */
function followerOf({ req, method }: Exchange): FollowingClient | undefined {
  const client = followsRedirects(req.headers['user-agent']);
  const { range, 'if-match': match, 'if-none-match': noneMatch } = req.headers;
  if (method !== 'GET' || [range, match, noneMatch].some((field) => field !== undefined)) return undefined;
  return client;
}

function steeredTo(
  steer: Steer | undefined,
  { path, query, asking }: Exchange,
  client: FollowingClient,
  { size }: Resource,
): Steered | undefined {
  if (path === undefined) return undefined;
  return steer?.({ path, size, client, remote: asking.remote, direct: query.has('direct') });
}

/** What lies elsewhere anyway is fetched there by who can; `?direct` says that it could not. */
async function sentElsewhere(
  { query }: Exchange,
  client: FollowingClient,
  { elsewhere, size: bytes }: Resource,
): Promise<Steered | undefined> {
  const location = query.has('direct') ? undefined : await elsewhere?.(client);
  if (location === undefined) return undefined;
  // The rest of it may be a signature, which is good for whoever reads the log.
  const { origin, pathname } = new URL(location);
  return { mirror: origin + pathname, location, bytes };
}

/** If-Range is not a list: Node hands it over as a string, or joined by commas, which matches no tag. */
function one(field: string | string[] | undefined): string | undefined {
  return Array.isArray(field) ? field.join(', ') : field;
}

function randomBoundary(): string {
  return randomBytes(16).toString('hex');
}
