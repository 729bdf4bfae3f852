import type { Shell } from './execute.ts';
import type { Failure, Status } from './failure.ts';
import type { CommandSpec, Parsed } from './options.ts';
import type { State } from './state.ts';

/** One invocation of a command, its options read. */
export interface Call extends Parsed {
  readonly shell: Shell;
  readonly state: State;
  /** The name and every word, for the few commands that look at them. */
  readonly argv: readonly string[];
}

export interface IpxeCommand extends CommandSpec {
  /** In which stock build it is; absent means in all. `extra` must be asked for. */
  readonly build?: 'efi' | 'x86' | 'imgtrust' | 'extra';
  run(call: Call): Promise<Status> | Status;
}

export type CommandTable = Readonly<Record<string, IpxeCommand>>;

/** Prints "Could not …" and passes the failure on. */
export function couldNot(state: State, what: string, failure: Failure): Failure {
  state.print(`Could not ${what}: ${failure.text}\n`);
  return failure;
}

export const TIMEOUT = { long: 'timeout', short: 't', kind: 'timeout' } as const;
export const QUIET = { long: 'quiet', short: 'q', kind: 'flag' } as const;
export const KEEP = { long: 'keep', short: 'k', kind: 'flag' } as const;
export const NAME = { long: 'name', short: 'n', kind: 'string' } as const;
