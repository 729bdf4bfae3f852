import { fileURLToPath } from 'node:url';
import type { CommandResult } from './command.ts';
import { execute } from './command.ts';
import type { Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));

/** `bootseal …` to its end, as an operator would call it. */
export function bootseal(...words: readonly string[]): Promise<CommandResult> {
  return execute(process.execPath, [MAIN, ...words]);
}

/** `bootseal serve` on a LAN. */
export interface ServingCli extends RunningServer {
  /** What it printed at its start. */
  printed(): string;
  /** Its log so far, a line for each event. */
  log(): readonly ServedLine[];
}

/** One line of its log. */
export interface ServedLine {
  readonly msg: string;
  readonly [fact: string]: unknown;
}

/** Resolves when it says that it listens. */
export async function serveByCli(lan: Lan, words: readonly string[]): Promise<ServingCli> {
  const child = lan.spawn(process.execPath, [MAIN, 'serve', ...words]);
  let printed = '';
  let log = '';
  child.stdout?.on('data', (piece: Buffer) => {
    printed += piece.toString('utf8');
  });
  child.stderr?.on('data', (piece: Buffer) => {
    log += piece.toString('utf8');
  });
  await waitForOutput(child, 'stdout', / on http:/).catch((error: Error) => {
    throw new Error(`${error.message}${log}`);
  });
  return {
    ...running(child),
    printed: () => printed,
    log: () =>
      log
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as ServedLine),
  };
}
