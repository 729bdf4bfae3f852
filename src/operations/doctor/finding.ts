/** What was looked at. */
export const CHECKS = [
  'program',
  'configuration',
  'interfaces',
  'ports',
  'server',
  'dhcp',
  'clock',
  'permissions',
  'disk',
  'state',
  'machines',
  'loaders',
  'expiry',
  'keyholder',
] as const;

export type CheckName = (typeof CHECKS)[number];

/** `fault`: machines do not boot, or will not be kept safe; `warning`: they do, and an operator should know. */
export type FindingState = 'ok' | 'warning' | 'fault' | 'not-checked';

/** One thing that was looked at, and what was found. */
export interface Finding {
  readonly check: CheckName;
  readonly state: FindingState;
  /** Which kind of thing is wrong, for programs: `port-taken`; undefined where nothing is. */
  readonly code?: string;
  /** One line, no sentence. */
  readonly found: string;
  /** What to do, one plain sentence; of everything that is not ok. */
  readonly advice?: string;
  /** True: this machine kept it from being looked at (a disk, a permission). */
  readonly couldNotLook?: boolean;
}

/** The findings of one check. */
export class Findings {
  readonly #check: CheckName;
  readonly #all: Finding[] = [];

  constructor(check: CheckName) {
    this.#check = check;
  }

  get all(): readonly Finding[] {
    return this.#all;
  }

  /** True as long as nothing is wrong. */
  get isWell(): boolean {
    return this.#all.every(({ state }) => state === 'ok' || state === 'not-checked');
  }

  ok(found: string): void {
    this.#all.push({ check: this.#check, state: 'ok', found });
  }

  warning(code: string, found: string, advice: string): void {
    this.#all.push({ check: this.#check, state: 'warning', code, found, advice });
  }

  fault(code: string, found: string, advice: string): void {
    this.#all.push({ check: this.#check, state: 'fault', code, found, advice });
  }

  /** @param found why not. */
  notChecked(found: string, advice: string): void {
    this.#all.push({ check: this.#check, state: 'not-checked', found, advice });
  }
}

/** Where a whole check is left out. @param why, one line. @param advice what would let it, one sentence. */
export function notChecked(check: CheckName, why: string, advice: string): readonly Finding[] {
  const findings = new Findings(check);
  findings.notChecked(why, advice);
  return findings.all;
}
