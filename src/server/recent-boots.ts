import type { ServerEvent } from '../release/server-event.ts';
import { TRUST_LEVELS, type TrustLevel } from '../release/trust-level.ts';

export interface RecentBoot {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly remote: string;
  /** The path that it began with. */
  readonly asked: string;
  readonly trust: TrustLevel;
}

const KEPT = 256;

/** The boots that began last, and with which trust: for who asks now. What lasts is written elsewhere. */
export class RecentBoots {
  readonly #clock: () => number;
  readonly #boots: RecentBoot[] = [];

  /** @param clock milliseconds since 1970. */
  constructor(clock: () => number) {
    this.#clock = clock;
  }

  readonly observe = (event: ServerEvent): void => {
    if (event.kind !== 'boot-began') return;
    const { remote, asked, trust } = event;
    this.#boots.push({ at: this.#clock(), remote, asked, trust });
    if (this.#boots.length > KEPT) this.#boots.shift();
  };

  /** The newest first, levels in words. */
  facts(): object[] {
    return this.#boots.toReversed().map(({ at, trust, ...rest }) => ({
      at: new Date(at).toISOString(),
      ...rest,
      trust,
      level: TRUST_LEVELS[trust],
    }));
  }
}
