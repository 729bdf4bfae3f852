import type { Boots } from '../boots/boots.ts';
import type { Refusal } from '../errors/refusal.ts';
import type { Log } from '../serve/event-log.ts';
import type { Page } from '../serve/http/http-types.ts';
import type { Shares } from '../serve/shares.ts';
import type { Access } from './access/access.ts';
import type { Configuration } from './configuration.ts';
import type { DriftWatch } from './drift-watch.ts';
import { EventHub } from './event-hub.ts';
import { eventPages } from './event-pages.ts';
import type { ForecastItem } from './forecast.ts';
import type { Offering } from './offering.ts';
import type { FindApi } from './web-arm.ts';
import { endingRows } from './web-endings.ts';
import { LivePages } from './web-live.ts';
import { machineNames } from './web-machines.ts';
import { webPages } from './web-pages.ts';

export interface WebDeskOptions {
  readonly offering: () => Offering;
  readonly boots: Boots;
  /** Resolves when the receipts that were written before are known. */
  readonly loaded: Promise<void>;
  readonly drift: DriftWatch;
  readonly state: string | undefined;
  readonly configuration: Configuration;
  /** Why machines may not be sent here; or what an operator should know all the same. */
  readonly readiness: () => Refusal | readonly string[];
  readonly warnings: () => readonly string[];
  /** Why the state is not followed at the moment. */
  readonly fault: () => string | undefined;
  /** What ends when, the first to end first. */
  readonly endings: () => readonly ForecastItem[];
  readonly base: () => string;
  readonly shares: Shares;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
  readonly log: Log;
  /** Who may read, and who may change something. */
  readonly access: Access;
  /** The API's pages, where there are any: forms ask it. */
  readonly api: FindApi;
}

/** What people see of a server in a browser, and what keeps it true while they look. */
export interface WebDesk {
  readonly pages: readonly (readonly [string, Page])[];
  /** Called every second. */
  tick(): void;
  /** Ends every stream of events, so that a server which closes waits for none. */
  end(): void;
}

export function openWebDesk(options: WebDeskOptions): WebDesk {
  const { offering, boots, loaded, state, shares, monotonic, log, access, api, endings, ...rest } = options;
  const hub = new EventHub({ monotonic });
  const sources = {
    ...rest,
    ...{ offering, boots },
    endings: () => endingRows(endings()),
    state: state !== undefined,
    nameOf: machineNames(offering),
  };
  const live = new LivePages({ sources, hub, boots, loaded, log });
  const refresh = async (): Promise<void> => {
    await live.look();
  };
  return {
    pages: [
      ...webPages({ sources, live, hub, state, access, api }),
      ...eventPages({ hub, shares, refresh, access }),
    ],
    tick: () => live.tick(),
    end: () => live.end(),
  };
}
