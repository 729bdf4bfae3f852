import type { BootCounts } from '../boots/boot-index.ts';
import { BOOT_OUTCOMES, type BootOutcome, isFailure } from '../boots/boot-outcome.ts';
import { type Receipt, type Route, STAGES, type StageRecord } from '../boots/receipt.ts';
import { adviceOf, JOIN_WORDS, OUTCOME_WORDS, STAGE_WORDS } from '../boots/words.ts';
import { TRUST_LEVELS } from '../release/trust-level.ts';
import type {
  BootFacts,
  BootRow,
  DayFacts,
  FailureRow,
  OutcomeCount,
  StageCell,
  StageRow,
  Tone,
} from '../web/facts.ts';

/** Receipts as the pages show them. */

export const DAY = 86_400_000;

const TONES: Readonly<Record<BootOutcome, Tone>> = {
  running: 'busy',
  verified: 'good',
  served: 'fair',
  local: 'quiet',
  waiting: 'quiet',
  refused: 'bad',
  failed: 'bad',
  stalled: 'bad',
  restarted: 'warn',
  lost: 'warn',
};

/** Those that were to end with a release that runs: the others were sent elsewhere, or go on. */
const OF_A_RELEASE: readonly BootOutcome[] = [
  'verified',
  'served',
  'refused',
  'failed',
  'stalled',
  'restarted',
  'lost',
];

const ROUTE_WORDS: Readonly<Record<Route, string>> = {
  ipxe: 'iPXE',
  grub: 'GRUB',
  uki: 'one image (UKI)',
  http: 'HTTP Boot',
  unknown: 'loader not known yet',
};

const BY_WORDS: Readonly<Record<NonNullable<Receipt['by']>, string>> = {
  report: 'as the machine says (claimed)',
  loader: 'as its loader says (claimed)',
  server: 'as this server saw it',
};

const ENDED_WORDS: Readonly<Record<NonNullable<StageRecord['outcome']>, string>> = {
  complete: 'complete',
  refused: 'refused',
  failed: 'could not be read here',
  probe: 'asked for the size',
  'client-gone': 'the machine left',
  stalled: 'the machine stopped reading',
  timeout: 'no answer',
  protocol: 'not understood',
  'gave-way': 'gave way to others',
  replaced: 'asked anew',
  closed: 'this server ended',
  offered: 'told what to load',
  said: 'said',
};

/** What an operator calls a machine. */
export type NameOf = (mac: string) => string | undefined;

export function bootRow(receipt: Receipt, nameOf: NameOf): BootRow {
  const { boot, machine, addresses, began, ended, quietSince, outcome, stage, release, trust } = receipt;
  const name = machine === '' ? undefined : nameOf(machine);
  const address = addresses.at(-1);
  const since = receipt.stages.find((each) => each.stage === stage)?.begin;
  const why = whyOf(receipt);
  return {
    ...{ boot, machine, began, stage },
    ...(name === undefined ? {} : { name }),
    ...(address === undefined ? {} : { address }),
    ...(ended === undefined ? {} : { ended }),
    ...(quietSince === undefined ? {} : { quietSince }),
    outcome: OUTCOME_WORDS[outcome],
    tone: TONES[outcome],
    running: outcome === 'running',
    ...(since === undefined ? {} : { stageSince: since }),
    ...(release === undefined ? {} : { release }),
    ...(trust === undefined ? {} : { trust: TRUST_LEVELS[trust] }),
    route: ROUTE_WORDS[receipt.route],
    ...(receipt.code === undefined ? {} : { code: receipt.code }),
    ...(why === undefined ? {} : { why }),
    cells: cellsOf(receipt),
  };
}

export function bootFacts(receipt: Receipt, nameOf: NameOf, now: number): BootFacts {
  const { arch, uuid, loader, rootHash, root, by, once, incomplete, addresses, lines, shared } = receipt;
  const advice = adviceOf(receipt);
  return {
    ...bootRow(receipt, nameOf),
    now,
    stages: receipt.stages.map((stage) => stageRow(stage, receipt)),
    ...(advice === undefined ? {} : { advice }),
    ...(arch === undefined ? {} : { arch }),
    ...(uuid === undefined ? {} : { uuid }),
    addresses,
    ...(loader === undefined ? {} : { loader }),
    ...(rootHash === undefined ? {} : { rootHash }),
    ...(root === undefined ? {} : { rootMode: root }),
    ...(by === undefined ? {} : { by: BY_WORDS[by] }),
    ...(once === undefined ? {} : { once }),
    shared: shared === true,
    ...(incomplete === undefined ? {} : { incomplete }),
    lines,
  };
}

/** What was begun of a stage and never ended is over with the stage after it, or with the boot. */
function stageRow(
  record: StageRecord,
  { stages, stage: furthest, outcome: whole, ended }: Receipt,
): StageRow {
  const { stage, begin, bytes, byMirror, outcome, join, what } = record;
  const goesOn = whole === 'running' && stage === furthest;
  const next = stages.find((each) => STAGES.indexOf(each.stage) > STAGES.indexOf(stage))?.begin;
  const end = record.end ?? (goesOn ? undefined : (next ?? ended));
  return {
    ...{ stage, begin, bytes, what },
    ...(byMirror === undefined ? {} : { byMirror }),
    ...(end === undefined ? {} : { end }),
    outcome: outcome === undefined ? (goesOn ? 'goes on' : 'not seen to end') : ENDED_WORDS[outcome],
    joined: JOIN_WORDS[join],
  };
}

/** Each of the stages, as far as this boot has come. */
function cellsOf({ stages, stage: furthest, outcome, ended }: Receipt): readonly StageCell[] {
  const reached = STAGES.indexOf(furthest);
  const going = outcome === 'running';
  return STAGES.map((stage, rank): StageCell => {
    const own = stages.find((each) => each.stage === stage);
    if (rank > reached) return { stage, state: 'ahead' };
    if (!own) return { stage, state: rank === reached && !going ? 'stopped' : 'passed' };
    const { begin } = own;
    if (rank === reached && going) return { stage, state: 'now', begin };
    const next = stages.find((each) => STAGES.indexOf(each.stage) > rank)?.begin ?? own.end ?? ended;
    const ms = next === undefined ? {} : { ms: Math.max(0, next - begin) };
    const stopped = rank === reached && (isFailure(outcome) || outcome === 'lost' || outcome === 'restarted');
    return { stage, state: stopped ? 'stopped' : 'done', begin, ...ms };
  });
}

function whyOf({ outcome, stage, message }: Receipt): string | undefined {
  if (message !== undefined) return message;
  return outcome === 'stalled' ? `It ${STAGE_WORDS[stage]}, and was not heard of again.` : undefined;
}

/** Outcomes of boots, those that there were. */
export function outcomeCounts({ byOutcome }: Pick<BootCounts, 'byOutcome'>): readonly OutcomeCount[] {
  return OUTCOME_ORDER.flatMap((outcome) => {
    const count = byOutcome[outcome];
    return count === 0 ? [] : [{ word: OUTCOME_WORDS[outcome], tone: TONES[outcome], count }];
  });
}

const OUTCOME_ORDER: readonly BootOutcome[] = [
  'verified',
  'served',
  'local',
  'waiting',
  'running',
  'restarted',
  'lost',
  'stalled',
  'failed',
  'refused',
];

export function dayFacts(counts: BootCounts, since: number): DayFacts {
  const { byOutcome, total } = counts;
  return {
    ...{ since, total },
    running: byOutcome.running,
    ended: OF_A_RELEASE.reduce((sum, outcome) => sum + byOutcome[outcome], 0),
    verified: byOutcome.verified,
    served: byOutcome.served,
    failed: byOutcome.refused + byOutcome.failed + byOutcome.stalled,
    outcomes: outcomeCounts(counts),
  };
}

/** @param said of the last boot of each group, by its id: one sentence. */
export function failureRows(
  { failures }: Pick<BootCounts, 'failures'>,
  lastOf: ReadonlyMap<string, Receipt>,
): readonly FailureRow[] {
  return failures.map(({ outcome, stage, code, count, machines, last, lastBegan }) => {
    const receipt = lastOf.get(last);
    const advice = adviceOf({ outcome, stage, ...(code === undefined ? {} : { code }) });
    const said = receipt?.message;
    const query = new URLSearchParams({
      outcome,
      stage,
      ...(code === undefined ? {} : { code }),
      since: '24h',
    });
    return {
      reason: code ?? (outcome === 'stalled' ? `silent after ${stage}` : 'not readable here'),
      outcome: OUTCOME_WORDS[outcome],
      ...{ stage, count, machines },
      lastBoot: last,
      lastMachine: receipt?.machine ?? '',
      lastBegan,
      ...(said === undefined ? {} : { said }),
      ...(advice === undefined ? {} : { advice }),
      query: query.toString(),
    };
  });
}

/** For a form. */
export const KNOWN_OUTCOMES = BOOT_OUTCOMES.map((outcome) => ({ outcome, word: OUTCOME_WORDS[outcome] }));
