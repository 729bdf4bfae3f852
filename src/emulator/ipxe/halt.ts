import { Refusal } from '../../errors/refusal.ts';
import type { IpxeOutcome } from './contract.ts';

/** Ends the whole run at once, through every script that is running. Not an error: it carries the outcome. */
export class Halt {
  readonly outcome: IpxeOutcome;

  constructor(outcome: IpxeOutcome) {
    this.outcome = outcome;
  }
}

/** This side stops the run, since no verdict would ever come of it. */
export function stopped(reason: string, facts: Record<string, string | number>): Halt {
  const refusal = new Refusal('unsafe-script', `iPXE was stopped: ${reason}`, facts);
  return new Halt({ kind: 'refused', reason, refusal });
}

/** The machine waits for a person who is not there. */
export function waiting(what: string): Halt {
  const refusal = new Refusal('no-verdict', `iPXE waits at the console for ever: ${what}`, { command: what });
  return new Halt({ kind: 'refused', reason: `waits at the console: ${what}`, refusal });
}
