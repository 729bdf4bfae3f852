import { STAGES, type Stage } from './receipt.ts';

/** Milliseconds that may pass after a stage before the next, where nobody has seen one yet: slow disks, slow firmware. */
const USUAL: Readonly<Record<Stage, number>> = {
  dhcp: 60_000,
  loader: 120_000,
  script: 90_000,
  kernel: 90_000,
  initrd: 240_000,
  userspace: 180_000,
  root: 240_000,
  report: 60_000,
};
/** A machine is given so many times what it took before, and some seconds. */
const GENEROSITY = 4;
const SLACK_MS = 15_000;
const LONGEST_MS = 15 * 60_000;
/** Gaps that are remembered of one machine and stage, and of all together. */
const KEPT = 7;
const KEPT_OF_ALL = 63;
/** With fewer of all together, nothing was learnt yet. */
const ENOUGH = 5;
/** Machines that are remembered; who was not seen longest is forgotten first. */
const MOST_MACHINES = 20_000;

/**
 * How long a machine may be silent after a stage: learnt from its own boots, else from everybody's, else by a usual
 * figure. Median, so that one night with a broken switch teaches nothing.
 */
export class Deadlines {
  readonly #patience: number;
  readonly #machines = new Map<string, Map<Stage, number[]>>();
  readonly #all = new Map<Stage, number[]>(STAGES.map((stage) => [stage, []]));

  /** @param patience all figures are multiplied by it. */
  constructor(patience = 1) {
    this.#patience = patience;
  }

  /** @param ms from the last that was heard of `stage` to the first of the next one. */
  learn(machine: string, stage: Stage, ms: number): void {
    if (!(ms >= 0 && ms <= LONGEST_MS)) return;
    push(this.#all.get(stage) ?? [], ms, KEPT_OF_ALL);
    if (machine === '') return;
    const own = this.#machines.get(machine) ?? new Map<Stage, number[]>();
    this.#machines.delete(machine);
    this.#machines.set(machine, own);
    const gaps = own.get(stage) ?? [];
    push(gaps, ms, KEPT);
    own.set(stage, gaps);
    const [oldest] = this.#machines.keys();
    if (this.#machines.size > MOST_MACHINES && oldest !== undefined) this.#machines.delete(oldest);
  }

  /** Milliseconds after which it is called stalled. */
  of(machine: string, stage: Stage): number {
    return this.#patience * this.#of(machine, stage);
  }

  #of(machine: string, stage: Stage): number {
    const own = this.#machines.get(machine)?.get(stage) ?? [];
    const all = this.#all.get(stage) ?? [];
    const learnt = own.length > 1 ? own : all.length >= ENOUGH ? all : undefined;
    if (!learnt) return USUAL[stage];
    // Others' machines may be much faster: theirs shortens nothing below half of the usual.
    const least = learnt === own ? SLACK_MS : USUAL[stage] / 2;
    return Math.min(LONGEST_MS, Math.max(least, GENEROSITY * median(learnt) + SLACK_MS));
  }
}

function push(gaps: number[], ms: number, kept: number): void {
  gaps.push(ms);
  if (gaps.length > kept) gaps.shift();
}

function median(values: readonly number[]): number {
  return values.toSorted((one, other) => one - other)[values.length >> 1] ?? 0;
}
