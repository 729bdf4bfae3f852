import type { PromisedFile } from '../release/promised-file.ts';
import { ContentCache } from '../serve/cache/content-cache.ts';
import type { Log } from '../serve/event-log.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { objectKey } from '../store/objects.ts';
import type { CacheMeters } from './cache-meters.ts';
import type { Configuration } from './configuration.ts';

export interface OpenCacheOptions {
  /** A place in a bucket. */
  readonly state: string;
  readonly configuration: Configuration;
  readonly counted: CacheMeters;
  readonly log: Log;
}

const MIB = 1024 * 1024;

/** The cache of a server whose payload is in a bucket. Throws as `ContentCache.open`. */
export async function openCache({
  state,
  configuration,
  counted,
  log,
}: OpenCacheOptions): Promise<ContentCache> {
  const { folder, size_mib } = configuration.cache;
  const records = recordsOf(state);
  const facts = ({ path, sha256 }: PromisedFile) => ({ path, sha256 });
  const { events } = counted;
  const cache = await ContentCache.open({
    source: { open: (sha256) => records.open(objectKey(sha256)) },
    folder,
    most: size_mib * MIB,
    events: {
      ...events,
      refused: (file, refusal) => {
        events.refused(file, refusal);
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
  counted.tell(cache);
  return cache;
}
