import { readIfThere } from '../../src/files/read-if-there.ts';
import { isSameMachine, type MachineFacts } from './machine.ts';
import type { Result } from './row.ts';
import { figure } from './table.ts';

/** One whole run, as `--json` writes it and bench/recorded.json keeps it. */
export interface Recorded {
  readonly machine: MachineFacts;
  /** The day, by UTC: `2026-11-30`. */
  readonly measured: string;
  readonly rows: readonly Result[];
}

/**
 * How much of a figure is noise: ratios of two quiet runs of one build on one machine differ by less than this, beside
 * what the rounds of either run differ among themselves.
 */
export const BAND = 0.15;

/** A row that became worse than noise explains, in one sentence. */
export interface Regression {
  readonly name: string;
  readonly says: string;
}

/**
 * Compares a run with the one on record. Ratios are compared wherever they were measured; what stands for itself (seconds,
 * megabytes) only between runs on one machine. Rows that one of them lacks are passed over.
 */
export function regressions(now: Recorded, before: Recorded): readonly Regression[] {
  const known = new Map(before.rows.map((row) => [row.name, row]));
  const same = isSameMachine(now.machine, before.machine);
  const found: Regression[] = [];
  for (const { name, unit, goal, measured, job } of now.rows) {
    const old = known.get(name)?.measured;
    if (!measured || !old || !(unit === 'times' || same)) continue;
    const more = unit === 'times' || unit.endsWith('/s') || (goal !== undefined && 'atLeast' in goal);
    // What the best round of today says against the worst of then: the rounds' own spread is no regression.
    const [best, worst] = more ? [measured.most, old.least] : [measured.least, old.most];
    const [value, then] = [measured.median, old.median];
    const change = more ? 1 - value / then : value / then - 1;
    const apart = more ? best < worst : best > worst;
    if (change <= BAND || !apart) continue;
    const says = `${job}: ${figure(value, unit)}, and ${figure(then, unit)} on record of ${before.measured}.`;
    found.push({ name, says });
  }
  return found;
}

/** Undefined where there is none. */
export async function readRecord(path: string): Promise<Recorded | undefined> {
  const bytes = await readIfThere(path);
  return bytes && (JSON.parse(bytes.toString('utf8')) as Recorded);
}
