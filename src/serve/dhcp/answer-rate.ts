import { MacTable } from './mac-table.ts';

/** A machine that boots sends a handful of questions; milliseconds, and answers in them. */
const WINDOW_MS = 10_000;
const PER_MAC = 10;
/** Answers in a second, all machines together. */
const PER_SECOND = 200;
/** Of these, what strangers leave: a flood of invented MACs keeps no known machine from its answer. */
const RESERVED = 50;
/** Machines that are remembered: more than boot in one window. */
const MOST_MACS = 16_384;

/** How often anybody is answered. */
export class AnswerRate {
  readonly #now: () => number;
  readonly #windows = new MacTable<{ readonly since: number; answers: number }>(MOST_MACS);
  #tokens = PER_SECOND;
  #at: number;

  /** @param now milliseconds of a monotonic clock. */
  constructor(now: () => number) {
    this.#now = now;
    this.#at = now();
  }

  /** Counts one answer; or says why there is none. @param known a machine that the operator knows. */
  take(mac: string, known: boolean): 'too-often' | 'too-many' | undefined {
    const now = this.#now();
    this.#tokens = Math.min(PER_SECOND, this.#tokens + ((now - this.#at) * PER_SECOND) / 1000);
    this.#at = now;
    const window = this.#windows.get(mac, known);
    const current = window !== undefined && now - window.since < WINDOW_MS ? window : undefined;
    if (current !== undefined && current.answers >= PER_MAC) return 'too-often';
    if (this.#tokens < (known ? 1 : RESERVED + 1)) return 'too-many';
    this.#tokens -= 1;
    if (current !== undefined) current.answers += 1;
    else this.#windows.set(mac, known, { since: now, answers: 1 });
    return undefined;
  }
}
