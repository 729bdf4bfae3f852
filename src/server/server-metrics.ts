import type { Gauge, Registry } from 'prom-client';
import { countBoots } from '../boots/boot-metrics.ts';
import type { Boots } from '../boots/boots.ts';
import { readPackageFile } from '../files/package-file.ts';
import { meters } from '../serve/meters.ts';
import { quarantinedReleases } from '../store/quarantine.ts';
import { STATUS_KINDS } from '../trust/endings.ts';
import type { Configuration } from './configuration.ts';
import type { ForecastItem } from './forecast.ts';
import type { Offering } from './offering.ts';
import { tellProcess } from './process-metrics.ts';

export interface ServerMetricsOptions {
  /** What is offered at the moment of a question. */
  readonly offering: () => Offering;
  /** What ends when, as of now. */
  readonly forecast: () => readonly ForecastItem[];
  /** Whether machines may be sent here: `/readyz`. */
  readonly ready: () => boolean;
  /** Why the state is not followed at the moment; undefined while it is, or where a tree is served. */
  readonly fault: () => string | undefined;
  /** Why receipts are not written at the moment; undefined while they are. */
  readonly receiptsFault: () => string | undefined;
  /** How many files of what is offered are not what was verified any more. */
  readonly drifted: () => number | Promise<number>;
  /** A state's folder; undefined: a tree is served, and nothing is ever in quarantine. */
  readonly state: string | undefined;
  readonly boots: Boots;
  readonly configuration: Configuration;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

const HOUR_S = 3600;

/**
 * What a server says beside its traffic: boots, its process, what it offers, what of that will end, and whether something
 * keeps it from offering it.
 */
export function tellServer(registry: Registry, options: ServerMetricsOptions): void {
  const { offering, forecast, ready, fault, receiptsFault, drifted, state, boots } = options;
  countBoots(registry, boots);
  tellProcess(registry);
  const always = meters(registry);
  const gauge = (name: string, help: string, value: () => number | Promise<number>): void => {
    const made: Gauge = meters(registry, async () => made.set(await value())).gauge(name, help);
  };

  const { version } = JSON.parse(readPackageFile('.', 'package.json').toString()) as { version: string };
  always.gauge('build_info', 'Which Bootseal this is; always 1.', ['version']).set({ version }, 1);
  always
    .gauge('start_timestamp_seconds', 'When the server was started.')
    .set(Math.floor(options.clock() / 1000));
  always
    .gauge('scrub_interval_seconds', 'How long after a scrub the next one begins; 0: nothing is scrubbed.')
    .set(options.configuration.scrub_hours * HOUR_S);

  gauge('ready', '1 while machines may be sent here, as /readyz says; else 0.', () => Number(ready()));
  gauge('state_followed', '1 while the state can be read; 0: what was offered before stays.', () =>
    Number(fault() === undefined),
  );
  gauge('receipts_written', '1 while receipts of boots are written where they belong; else 0.', () =>
    Number(receiptsFault() === undefined),
  );
  gauge('releases_offered', 'Releases that are offered.', () => offering().releases.length);
  gauge(
    'releases_ended',
    'Releases that are offered and that no machine starts any more.',
    () => offering().releases.filter(({ refusal }) => refusal !== undefined).length,
  );
  gauge('drifted_files', 'Files of what is offered that are not what was verified any more.', drifted);
  gauge('quarantined_releases', 'Releases in quarantine; NaN while the state cannot be read.', () =>
    quarantined(state).catch(() => Number.NaN),
  );

  const expiry = meters(registry, () => {
    const items = forecast();
    for (const kind of STATUS_KINDS) {
      const ends = items.flatMap((item) =>
        item.kind === kind ? [item.ends ?? Number.POSITIVE_INFINITY] : [],
      );
      expiry.set({ kind }, Math.min(Number.POSITIVE_INFINITY, ...ends) / 1000);
    }
  }).gauge(
    'expiry_timestamp_seconds',
    'When the first of each kind ends that what is offered depends on; +Inf: there is none, or it never ends.',
    ['kind'],
  );
  const due = meters(registry, () => {
    const items = forecast();
    for (const kind of STATUS_KINDS)
      due.set({ kind }, items.filter((item) => item.kind === kind && item.due).length);
  }).gauge(
    'expiry_due',
    'What has ended or is about to: within 30 days, or within the last third of its life where that is shorter.',
    ['kind'],
  );
}

/** @throws IoError, Refusal */
async function quarantined(state: string | undefined): Promise<number> {
  return state === undefined ? 0 : (await quarantinedReleases(state)).length;
}
