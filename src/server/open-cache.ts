import type { Gauge, Registry } from 'prom-client';
import type { PromisedFile } from '../release/promised-file.ts';
import { ContentCache } from '../serve/cache/content-cache.ts';
import type { Log } from '../serve/event-log.ts';
import { meters } from '../serve/meters.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { objectKey } from '../store/objects.ts';
import type { Configuration } from './configuration.ts';

export interface OpenCacheOptions {
  /** A place in a bucket. */
  readonly state: string;
  readonly configuration: Configuration;
  readonly registry: Registry;
  readonly log: Log;
}

const MIB = 1024 * 1024;

/** The cache of a server whose payload is in a bucket, and what is counted of it. Throws as `ContentCache.open`. */
export async function openCache({
  state,
  configuration,
  registry,
  log,
}: OpenCacheOptions): Promise<ContentCache> {
  const { folder, size_mib } = configuration.cache;
  const records = recordsOf(state);
  const made = meters(registry);
  const asked = made.counter('cache_requests_total', 'Files of a bucket that were asked for.', ['result']);
  const fetched = made.counter('cache_fetched_bytes_total', 'Bytes that came from the bucket.');
  const refused = made.counter(
    'cache_refused_total',
    'Times that a file of the bucket turned out to be another than was published, anew.',
  );
  for (const result of ['hit', 'miss']) asked.inc({ result }, 0);
  const facts = ({ path, sha256 }: PromisedFile) => ({ path, sha256 });
  const cache = await ContentCache.open({
    source: { open: (sha256) => records.open(objectKey(sha256)) },
    folder,
    most: size_mib * MIB,
    events: {
      asked: (hit) => asked.inc({ result: hit ? 'hit' : 'miss' }),
      fetched: (bytes) => fetched.inc(bytes),
      refused: (file, refusal) => {
        refused.inc();
        log.error(
          { ...facts(file), ...refusal.toJSON() },
          'a file of the store is not what was published, and is not served',
        );
      },
      restored: (file) => log.info(facts(file), 'a file of the store is again what was published'),
      lost: (file, refusal) =>
        log.warn({ ...facts(file), ...refusal.toJSON() }, 'what the cache had of a file is fetched again'),
    },
  });
  const bytes: Gauge = meters(registry, () => bytes.set(cache.room.bytes)).gauge(
    'cache_bytes',
    'Bytes that the cache holds, or promised to what is arriving.',
  );
  const most: Gauge = meters(registry, () => most.set(cache.room.most)).gauge(
    'cache_limit_bytes',
    'Bytes that it may hold.',
  );
  return cache;
}
