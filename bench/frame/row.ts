import type { Prerequisite } from '../../lab/prerequisites.ts';

/** The shape of what is measured: parts, each a file of bench/rows, and the rows of the table that each of them fills. */

/** `times`: how many times as fast as the peer, so that more is better; the others speak for themselves. */
export type Unit = 'times' | 's' | 'ms' | 'µs' | 'MB' | '/s' | 'MB/s';

export type Goal = { readonly atLeast: number } | { readonly atMost: number };

export interface Row {
  /** What records and `--check` know it by: `http/one-client`. */
  readonly name: string;
  /** What is done, as a user would say it. */
  readonly job: string;
  /** The peer of the same run; undefined: none, the figure stands for itself. */
  readonly against?: string;
  readonly unit: Unit;
  readonly goal?: Goal;
  /** Said where the goal is not met: what was tried, and what limits it. */
  readonly limit?: string;
}

/** What a part says of a row: a value for each round. */
export interface Measured {
  readonly values: readonly number[];
  /** For people: the figures behind a ratio, `1210 MB/s`. */
  readonly ours?: string;
  readonly peer?: string;
}

export interface PartContext {
  /** Empty, of this part alone, and gone when it ends. */
  readonly folder: string;
  /** Whether this is only to see that it works: small sizes, one round, and no figure of it means anything. */
  readonly quick: boolean;
  /** Rounds of each comparison. */
  readonly rounds: number;
  /** Says what it is at, on standard error. */
  say(what: string): void;
  /** Each row is told once. @throws RangeError for a row that the part does not have. */
  tell(row: string, measured: Measured): void;
}

/** A file of bench/rows exports one as `part`. */
export interface Part {
  /** What `npm run bench -- NAME` chooses it by. */
  readonly name: string;
  /** What it needs beside what the tests need. */
  readonly packages?: readonly Prerequisite[];
  readonly rows: readonly Row[];
  run(context: PartContext): Promise<void>;
}

export interface Result extends Row {
  /** Undefined where the part failed before it was measured. */
  readonly measured: (Measured & Spread) | undefined;
  /** Whether the goal is met by the median; undefined without a goal or without a figure. */
  readonly met: boolean | undefined;
}

export interface Spread {
  readonly median: number;
  readonly least: number;
  readonly most: number;
}

/** @throws RangeError without a value, or with one that is no finite number. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((one, other) => one - other);
  if (sorted.length === 0 || !sorted.every(Number.isFinite)) throw new RangeError(`no figure: ${values}`);
  const middle = sorted.length >> 1;
  const [low = 0, high = 0] = [sorted[(sorted.length - 1) >> 1], sorted[middle]];
  return { median: (low + high) / 2, least: sorted[0] ?? 0, most: sorted.at(-1) ?? 0 };
}

export function isMet(goal: Goal, value: number): boolean {
  return 'atLeast' in goal ? value >= goal.atLeast : value <= goal.atMost;
}

export function resultOf(row: Row, measured: Measured | undefined): Result {
  if (!measured) return { ...row, measured: undefined, met: undefined };
  const spread = spreadOf(measured.values);
  const met = row.goal ? isMet(row.goal, spread.median) : undefined;
  return { ...row, measured: { ...measured, ...spread }, met };
}
