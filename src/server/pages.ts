import type { Boots } from '../boots/boots.ts';
import { Refusal } from '../errors/refusal.ts';
import { newestScripts } from '../machines/machine-booter.ts';
import type { Log } from '../serve/event-log.ts';
import { healthPage, metricsPage, readyPage } from '../serve/http/http-pages.ts';
import type { Page, Pages } from '../serve/http/http-types.ts';
import type { Metrics } from '../serve/metrics.ts';
import type { DatedCertificate } from '../trust/endings.ts';
import type { Access } from './access/access.ts';
import { tokenPage } from './access/guarded.ts';
import { sessionPages } from './access/session-pages.ts';
import { apiRoutes, demandDescribed } from './api/api.ts';
import type { ApiDesk } from './api/api-desk.ts';
import { apiPages, bothPages } from './api/api-pages.ts';
import type { Configuration } from './configuration.ts';
import type { OfferedLoader } from './loader-files.ts';
import { type Offering, warningsOf } from './offering.ts';
import type { Signer } from './signer.ts';

/** Of what it is made whether machines may be sent here. */
export interface Readiness {
  /** What is offered at the moment of a request. */
  readonly offering: () => Offering;
  readonly ready: () => boolean;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Why the state is not followed at the moment; undefined while it is. */
  readonly fault: () => string | undefined;
  /** Whether a file of an offered release is known not to be what was verified. */
  readonly isDrifted: (release: string) => boolean;
  /** What else an operator should know, one sentence each. */
  readonly warnings: () => readonly string[];
}

export interface ServerPagesOptions extends Readiness {
  readonly configuration: Configuration;
  /** Who may read, and who may change something. */
  readonly access: Access;
  readonly metrics: Metrics;
  /** Pages of other rooms, by path. */
  readonly more: readonly (readonly [string, Page])[];
  readonly loaders: ReadonlyMap<string, OfferedLoader>;
  readonly boots: Boots;
  /** The STATE folder; undefined: a tree is served. */
  readonly state: string | undefined;
  /** Who signs what is asked for by the API; undefined: nobody. */
  readonly signer: Signer | undefined;
  /** Looks at what is written about machines. @returns why it does not count yet. */
  readonly lookAtMachines: () => Promise<string | undefined>;
  /** The server's own, where it has one. */
  readonly certificate: () => DatedCertificate | undefined;
  readonly log: Log;
}

/** The server's own pages. Each is made of what is true when it is asked for. */
export function serverPages(options: ServerPagesOptions): Pages {
  const { access, more, state } = options;
  const routes = apiRoutes(apiDesk(options));
  const pages = new Map<string, Page>([
    ...apiPages(routes, { access, state }),
    ['/healthz', healthPage()],
    ['/readyz', readyPage(() => readiness(options))],
    ['/metrics', numbersPage(options)],
    ...sessionPages(access),
  ]);
  // Where machines say what became of their boots: they have no token, and use the server under any name.
  for (const [path, page] of more) {
    const other = pages.get(path);
    pages.set(path, other ? bothPages(other, page) : page);
  }
  demandDescribed(pages, routes);
  return pages;
}

function apiDesk(options: ServerPagesOptions): ApiDesk {
  const { state, offering, boots, loaders, clock, signer, lookAtMachines, certificate, log } = options;
  return {
    ...{ state, offering, boots, loaders, clock, signer, lookAtMachines, certificate, log },
    began: clock(),
    readiness: () => readiness(options),
  };
}

/** Machines may be sent here as long as any of the releases can be booted; what else is wrong is said beside it. */
export function readiness(options: Readiness): Refusal | readonly string[] {
  const { offering, ready } = options;
  if (!ready()) return new Refusal('unreachable', 'The server is starting or stopping.', {});
  const { releases } = offering();
  const [first] = releases;
  if (first?.refusal && releases.every(({ refusal }) => refusal)) return first.refusal;
  if (
    first &&
    releases.every(({ refusal, release }) => refusal || options.isDrifted(release.manifest.release))
  )
    return new Refusal(
      'drifted',
      `No machine boots: files are not what was verified, and are not served; publish, pull or import ${first.release.manifest.release} again, and restart a server whose state is a folder.`,
      {},
    );
  const newest = newestScripts({ scripts: offering().machines?.scripts ?? new Map() });
  if (newest instanceof Refusal)
    return new Refusal(newest.code, `No machine boots: ${newest.message}`, newest.facts);
  return allWarnings(options);
}

/** What an operator should know, though machines boot: one sentence each. */
export function allWarnings({ offering, clock, fault, warnings: more }: Readiness): readonly string[] {
  const why = fault();
  const lost = why === undefined ? [] : [`the state is not followed at the moment: ${why}`];
  return [...warningsOf(offering(), clock()), ...lost, ...more()];
}

/** Where numbers are open, whoever collects them may use any name of the server: they are nobody's secret. */
function numbersPage({ access, configuration, metrics }: ServerPagesOptions): Page {
  const page = metricsPage(metrics);
  const { read, metrics: reading = read } = configuration.api;
  return reading === 'open' ? page : tokenPage(access, page);
}
