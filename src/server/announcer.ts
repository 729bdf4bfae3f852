import type { Log } from '../serve/event-log.ts';
import { channelWarnings, type Offering } from './offering.ts';

/** Says in the log what changed for machines as time passes: each thing once, when it begins and when it is over. */
export class Announcer {
  readonly #log: Log;
  #ended = new Map<string, string>();
  #warned: readonly string[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  /** @param now milliseconds since 1970. */
  tell(offering: Offering, now: number): void {
    const ended = new Map<string, string>();
    for (const { release, refusal } of offering.releases) {
      const { release: id, manifestSha256 } = release;
      const before = this.#ended.get(manifestSha256);
      if (refusal) ended.set(manifestSha256, refusal.message);
      if (refusal && refusal.message !== before)
        this.#log.warn(
          { release: id, ...refusal.toJSON() },
          'new boots have ended; machines that run keep their root',
        );
      else if (!refusal && before !== undefined)
        this.#log.info({ release: id }, 'machines may boot it again');
    }
    const warnings = channelWarnings(offering, now);
    for (const warning of warnings) if (!this.#warned.includes(warning)) this.#log.warn({}, warning);
    this.#ended = ended;
    this.#warned = warnings;
  }
}
