import type { Registry } from 'prom-client';
import { REFUSAL_CODES } from '../errors/refusal.ts';
import { TRUST_LEVELS } from '../release/trust-level.ts';
import { meters } from '../serve/meters.ts';
import type { BootChange } from './boot-change.ts';
import { BOOT_OUTCOMES } from './boot-outcome.ts';
import type { Boots } from './boots.ts';
import { type Receipt, ROUTES, STAGES, type Stage } from './receipt.ts';

/** `uname -m` of machines that are counted by it; what a machine says beyond that is `other`. */
const ARCHES = ['x86_64', 'aarch64', 'i386', 'armv7l', 'riscv64'] as const;
const OTHER = 'other';
/** It never came to a script. */
const NO_TRUST = 'none';
/** Seconds. Firmware takes some, a root image minutes. */
const STAGE_BUCKETS = [0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600];
/** What a boot that failed took for its last stage says nothing of how long that stage takes. */
const ARRIVED: ReadonlySet<string> = new Set(['verified', 'served', 'local']);
/** Boots that ended and are remembered, since they may yet go on. */
const REMEMBERED = 20_000;
const ENDS = BOOT_OUTCOMES.filter((outcome) => outcome !== 'running');

/**
 * Counts boots, as this server follows them. An end that was none (a machine that was taken for stalled, or that shows a
 * menu) counts, and so does the one that comes after it: a counter takes nothing back.
 */
export function countBoots(registry: Registry, boots: Boots): void {
  const ask = meters(registry, () => {
    for (const [stage, count] of Object.entries(boots.runningAt())) running.set({ stage }, count);
    lost.inc(boots.lost - told.lost);
    notFollowed.inc(boots.notFollowed - told.notFollowed);
    told = { lost: boots.lost, notFollowed: boots.notFollowed };
  });
  const { counter, histogram } = meters(registry);
  let told = { lost: 0, notFollowed: 0 };

  const ended = counter('boots_total', 'Boots that ended, by the way they took and what came of them.', [
    'route',
    'outcome',
  ]);
  const byArch = counter(
    'boots_by_architecture_total',
    'Boots that ended, by the architecture that the machine or its firmware claims.',
    ['arch', 'outcome'],
  );
  const seconds = histogram(
    'boot_stage_seconds',
    'From the first that was heard of a stage to the first of the next one; of the last stage to its end.',
    STAGE_BUCKETS,
    ['stage'],
  );
  const running = ask.gauge('boots_running', 'Boots that go on, by the stage that they came to.', ['stage']);
  const stalled = counter(
    'boots_stalled_total',
    'Boots of which nothing was heard after a stage for longer than it ever took.',
    ['stage'],
  );
  const refused = counter(
    'boots_refused_total',
    'Boots that ended in a refusal, by the server, a loader or early userspace.',
    ['code'],
  );
  const receipts = counter(
    'receipts_total',
    'Receipts of boots that ended, by the level of trust that their loader claims; none: it never came to a script.',
    ['trust'],
  );
  const lost = ask.counter(
    'receipts_lost_total',
    'Receipts that were not kept: no disk took them in time, or their address had begun too many boots that day.',
  );
  const notFollowed = ask.counter(
    'boots_not_followed_total',
    'Boots that were served and not followed, since too many began at once.',
  );

  for (const outcome of ENDS) {
    for (const route of ROUTES) ended.inc({ route, outcome }, 0);
    for (const arch of [...ARCHES, OTHER]) byArch.inc({ arch, outcome }, 0);
  }
  for (const stage of STAGES) {
    stalled.inc({ stage }, 0);
    seconds.zero({ stage });
  }
  for (const code of REFUSAL_CODES) refused.inc({ code }, 0);
  for (const trust of [...Object.keys(TRUST_LEVELS), NO_TRUST]) receipts.inc({ trust }, 0);

  /** When boots ended that may yet go on, by id: their stages were told up to then. */
  const toldUntil = new Map<string, number>();
  boots.subscribe((change: BootChange) => {
    const outcome = change.ended;
    if (outcome === undefined) return;
    const { receipt } = change;
    const { boot, stage, route, arch, trust = NO_TRUST, code } = receipt;
    ended.inc({ route, outcome });
    byArch.inc({ arch: known(arch), outcome });
    receipts.inc({ trust });
    if (outcome === 'stalled') stalled.inc({ stage });
    if (outcome === 'refused') refused.inc({ code: code ?? 'no-verdict' });
    // Only now: what DHCP said and what was fetched are often known to be one boot by its script alone.
    const since = toldUntil.get(boot) ?? Number.NEGATIVE_INFINITY;
    for (const [name, ms] of durations(receipt, since))
      seconds.observe({ stage: name }, Math.max(0, ms) / 1000);
    toldUntil.set(boot, receipt.stages.at(-1)?.begin ?? since);
    const [oldest] = toldUntil.keys();
    if (toldUntil.size > REMEMBERED && oldest !== undefined) toldUntil.delete(oldest);
  });
}

/** Milliseconds of each stage whose next one began after `since`; of the last one where the boot came to its end. */
function durations({ stages, outcome }: Receipt, since: number): (readonly [Stage, number])[] {
  return stages.flatMap(({ stage, begin, end }, index) => {
    const next = stages[index + 1]?.begin;
    if (next !== undefined) return next > since ? [[stage, next - begin] as const] : [];
    return ARRIVED.has(outcome) && end !== undefined ? [[stage, end - begin] as const] : [];
  });
}

function known(arch: string | undefined): string {
  return (ARCHES as readonly (string | undefined)[]).includes(arch) ? (arch ?? OTHER) : OTHER;
}
