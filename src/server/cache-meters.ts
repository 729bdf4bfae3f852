import type { Gauge, Registry } from 'prom-client';
import type { CacheEvents, ContentCache } from '../serve/cache/content-cache.ts';
import { meters } from '../serve/meters.ts';

/** What is counted of a cache; all of it is there, and 0, where there is none. */
export class CacheMeters {
  #cache: ContentCache | undefined;
  readonly #asked;
  readonly #fetched;
  readonly #refused;

  constructor(registry: Registry) {
    const { counter } = meters(registry);
    this.#asked = counter(
      'cache_requests_total',
      'Files of a bucket that were asked for: whole in the cache, or not.',
      ['result'],
    );
    for (const result of ['hit', 'miss']) this.#asked.inc({ result }, 0);
    this.#fetched = counter(
      'cache_fetched_bytes_total',
      'Bytes that came from the bucket and were what was published.',
    );
    this.#refused = counter(
      'cache_refused_total',
      'Files of the bucket that turned out to be other than was published.',
    );
    const gauge = (name: string, help: string, value: (cache: ContentCache) => number): void => {
      const made: Gauge = meters(registry, () => made.set(this.#cache ? value(this.#cache) : 0)).gauge(
        name,
        help,
      );
    };
    gauge(
      'cache_bytes',
      'Bytes that the cache holds, with those that are promised to what is coming.',
      ({ room }) => room.bytes,
    );
    gauge('cache_limit_bytes', 'Bytes that the cache may hold; 0: there is none.', ({ room }) => room.most);
  }

  /** From now on it is this one that is told of. */
  tell(cache: ContentCache): void {
    this.#cache = cache;
  }

  readonly events: Pick<CacheEvents, 'asked' | 'fetched' | 'refused'> = {
    asked: (hit) => this.#asked.inc({ result: hit ? 'hit' : 'miss' }),
    fetched: (bytes) => this.#fetched.inc(bytes),
    refused: () => this.#refused.inc(),
  };
}
