import type { PinnedFile } from '../release/pin.ts';
import { isPromised } from '../release/promised-file.ts';
import type { Log } from '../serve/event-log.ts';
import type { Metrics } from '../serve/metrics.ts';
import { startScrub } from '../serve/scrub.ts';
import type { ServableRelease } from '../trust/verified-release.ts';
import type { Configuration } from './configuration.ts';

const HOUR = 3_600_000;

export interface ScrubContext {
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** Reads the payload of what is served again and again, as the operator's configuration says. @param cached what is here of those whose payload is elsewhere. @returns its end. */
export function scrubReleases(
  { scrub_hours }: Configuration,
  releases: () => readonly ServableRelease[],
  cached: () => readonly PinnedFile[],
  { clock, metrics, log }: ScrubContext,
): () => Promise<void> {
  if (scrub_hours === 0) return async () => {};
  return startScrub({
    everyMs: scrub_hours * HOUR,
    files: () => [
      ...releases().flatMap(({ files }) =>
        [...files.values()].flatMap((one) => (isPromised(one) ? [] : [one])),
      ),
      ...cached(),
    ],
    onRefused: ({ path }, refusal) => {
      metrics.countScrubRefusal(refusal.code);
      log.error({ path, ...refusal.toJSON() }, 'not served any more');
    },
    onFault: ({ path }, error) => {
      metrics.countScrubFault();
      log.error({ path, err: error }, 'scrub: a file could not be read');
    },
    onRound: ({ files, bytes }) => {
      metrics.observeScrub(bytes, clock());
      log.info({ files, bytes }, 'scrub: everything that is served was read again');
    },
  });
}
