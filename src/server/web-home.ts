import type { BootChange } from '../boots/boot-change.ts';
import type { BootCounts } from '../boots/boot-index.ts';
import type { Boots } from '../boots/boots.ts';
import { type Receipt, STAGES } from '../boots/receipt.ts';
import type { Refusal } from '../errors/refusal.ts';
import type { EndingRow, HomeFacts, ServerFacts } from '../web/facts.ts';
import type { Configuration } from './configuration.ts';
import type { DriftWatch } from './drift-watch.ts';
import type { Offering } from './offering.ts';
import { bootRow, DAY, dayFacts, failureRows, type NameOf } from './web-boots.ts';
import { releaseFacts, releaseRows } from './web-releases.ts';

/** What the overview is made of, at the moment of a look. */
export interface HomeSources {
  readonly offering: () => Offering;
  readonly boots: Boots;
  readonly drift: DriftWatch;
  readonly nameOf: NameOf;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly readiness: () => Refusal | readonly string[];
  readonly warnings: () => readonly string[];
  /** Why the state is not followed at the moment. */
  readonly fault: () => string | undefined;
  /** What ends when, the first to end first. */
  readonly endings: () => readonly EndingRow[];
  readonly base: () => string;
  readonly configuration: Configuration;
  readonly state: boolean;
}

/** Rows of the overview. */
const MOST_BOOTS = 16;
const MOST_LINGERING = 5;
const MOST_RECENT = 12;
const MOST_FAILURES = 8;
/** Milliseconds that a boot which has ended stays among those under way, so that its end is seen. */
const LINGER_MS = 60_000;
/** Said of the last boot of a group of failures. */
const MOST_LAST = 64;

/**
 * The boots of the overview: a few rows, however many there are. It listens to what changes, and looks things up once.
 */
export class HomeBoots {
  readonly #boots: Boots;
  readonly #clock: () => number;
  /** Those that have just ended, by id. */
  readonly #lingering = new Map<string, { readonly receipt: Receipt; readonly until: number }>();
  #recent: Receipt[] = [];
  readonly #last = new Map<string, Receipt>();
  #counts: { readonly counts: BootCounts; readonly since: number } | undefined;

  constructor(boots: Boots, clock: () => number) {
    this.#boots = boots;
    this.#clock = clock;
  }

  /** Reads what ended before anybody listened. @throws IoError */
  async begin(): Promise<void> {
    const now = this.#clock();
    // A short time first: of a busy day there are more than anybody wants to sort.
    for (const since of [now - DAY / 24, now - DAY, now - 90 * DAY]) {
      const found = await this.#boots.find({ since }, MOST_RECENT * 2);
      for (const receipt of found.toReversed()) this.note({ ...receipt, receipt });
      if (this.#recent.length === MOST_RECENT) return;
    }
  }

  /** Something of a boot has changed. Of one that is under way nothing is read: it is asked for when it is shown. */
  note(change: Pick<BootChange, 'boot' | 'outcome' | 'receipt'>): void {
    const { boot, outcome } = change;
    this.#counts = undefined;
    this.#last.delete(boot);
    const known = this.#recent.findIndex((each) => each.boot === boot);
    if (outcome === 'running') {
      this.#lingering.delete(boot);
      if (known >= 0) this.#recent.splice(known, 1);
      return;
    }
    const { receipt } = change;
    if (known >= 0) this.#recent[known] = receipt;
    else this.#recent.push(receipt);
    this.#recent.sort((one, other) => other.began - one.began);
    this.#recent.length = Math.min(this.#recent.length, MOST_RECENT);
    // What another server wrote, or this one before it began, is told late.
    const until = this.#lingering.get(boot)?.until ?? (receipt.ended ?? receipt.began) + LINGER_MS;
    if (this.#clock() >= until) return;
    this.#lingering.set(boot, { receipt, until });
    const [oldest] = this.#lingering.keys();
    if (this.#lingering.size > MOST_LINGERING && oldest !== undefined) this.#lingering.delete(oldest);
  }

  /** What was counted, until something changes or a second is over. */
  counts(): { readonly counts: BootCounts; readonly since: number } {
    const since = this.#clock() - DAY;
    if (this.#counts === undefined || Math.abs(since - this.#counts.since) > 1000)
      this.#counts = { counts: this.#boots.count({ since }), since };
    return this.#counts;
  }

  get recent(): readonly Receipt[] {
    return this.#recent;
  }

  /** Those under way, quiet ones first, then those that began last; and those that have just ended, in their place. */
  shown(): {
    readonly receipts: readonly Receipt[];
    readonly more: number;
    readonly at: HomeFacts['at'];
    readonly quiet: number;
  } {
    const now = this.#clock();
    for (const [boot, { until }] of this.#lingering)
      if (now >= until || now < until - 2 * LINGER_MS) this.#lingering.delete(boot);
    const running = this.#boots.running();
    const all = [...running, ...[...this.#lingering.values()].map(({ receipt }) => receipt)];
    all.sort((one, other) => rankOf(one) - rankOf(other) || other.began - one.began);
    const receipts = all.slice(0, MOST_BOOTS);
    const shown = receipts.filter(({ outcome }) => outcome === 'running').length;
    const at = STAGES.flatMap((stage) => {
      const count = running.filter((receipt) => receipt.stage === stage).length;
      return count === 0 ? [] : [{ stage, count }];
    });
    const quiet = running.filter(({ quietSince }) => quietSince !== undefined).length;
    return { receipts, more: running.length - shown, at, quiet };
  }

  /** The last boot of each group of failures. @throws IoError */
  async lastOf(counts: BootCounts): Promise<ReadonlyMap<string, Receipt>> {
    const wanted = counts.failures.slice(0, MOST_FAILURES).map(({ last }) => last);
    for (const boot of wanted) {
      if (this.#last.has(boot)) continue;
      const receipt = await this.#boots.get(boot);
      if (receipt) this.#last.set(boot, receipt);
    }
    for (const boot of this.#last.keys()) {
      if (this.#last.size <= MOST_LAST) break;
      if (!wanted.includes(boot)) this.#last.delete(boot);
    }
    return this.#last;
  }
}

function rankOf({ outcome, quietSince }: Receipt): number {
  return outcome === 'running' && quietSince !== undefined ? 0 : 1;
}

/** @throws IoError */
export async function homeFacts(sources: HomeSources, home: HomeBoots): Promise<HomeFacts> {
  const { offering, drift, nameOf, clock, warnings, endings } = sources;
  const { counts, since } = home.counts();
  const { receipts, more, at, quiet } = home.shown();
  const last = await home.lastOf(counts);
  const now = clock();
  const offered = offering();
  return {
    now,
    server: serverFacts(sources),
    entry: releaseFacts(offered.entry, offered, drift),
    releases: releaseRows(offered, drift),
    day: dayFacts(counts, since),
    boots: receipts.map((receipt) => bootRow(receipt, nameOf)),
    ...{ more, at, quiet },
    recent: home.recent.map((receipt) => bootRow(receipt, nameOf)),
    failures: failureRows({ failures: counts.failures.slice(0, MOST_FAILURES) }, last),
    endings: endings(),
    warnings: warnings(),
  };
}

function serverFacts(sources: HomeSources): ServerFacts {
  const { readiness, fault, boots, configuration, base, state } = sources;
  const ready = readiness();
  const notFollowed = fault();
  return {
    ...(ready instanceof Error ? { notReady: ready.message } : {}),
    state,
    ...(notFollowed === undefined ? {} : { notFollowed }),
    ...(boots.fault === undefined ? {} : { notWritten: boots.fault }),
    lost: boots.lost,
    unverifiedLoadersAllowed: configuration.allow_unverified_loaders,
    base: base(),
  };
}

/** What programs are told whenever any of it changes, and what makes pages that show it look anew. */
export function stateFacts(sources: HomeSources): object {
  const { offering, drift, warnings } = sources;
  const offered = offering();
  const { notReady, notFollowed, notWritten } = serverFacts(sources);
  return {
    ready: notReady === undefined,
    notReady,
    notFollowed,
    notWritten,
    entry: offered.entry.release.release,
    releases: releaseRows(offered, drift).map(({ release, channels, ended, cut, former, drifted }) => ({
      ...{ release, channels, ended, cut, former },
      drifted: drifted.map(({ path }) => path),
    })),
    channels: Object.fromEntries(
      [...offered.channels].map(([name, { snapshot }]) => [name, snapshot.counter]),
    ),
    warnings: warnings(),
  };
}
