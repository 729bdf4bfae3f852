import { type Stats, statSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import type { Logger } from 'pino';
import { cannotRead, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { isChannelName, isReleaseId } from '../formats/records/safe-path.ts';
import { bucketPlace, isBucketState } from '../store/s3/location.ts';
import { report } from './report.ts';
import { Terminal } from './terminal.ts';

/** What every command is given: the clock, the terminal, a log. */
export interface Context {
  readonly terminal: Terminal;
  /** Opens a log on standard error, for the few that keep one. */
  readonly openLog: () => Promise<Logger>;
  /** Milliseconds since 1970. The command line is the only place that reads a clock. */
  readonly now: number;
  readonly json: boolean;
}

const examples = new WeakMap<Command, string>();

/** A command with the options that all of them have, and an example in its help. */
export function newCommand(name: string, summary: string, example: string): Command {
  const command = new Command(name)
    .description(summary)
    .option('--json', 'one object on standard output; everything else on standard error')
    .option('--quiet', 'say nothing but errors')
    .addHelpText('after', `\nExample:\n  ${example.replaceAll('\n', '\n  ')}\n`);
  examples.set(command, example);
  return command;
}

/** The example of a command that `newCommand` made. */
export function exampleOf(command: Command): string | undefined {
  return examples.get(command);
}

/**
 * Runs a command's work and turns what it throws into one sentence and an exit status.
 *
 * A command's file holds its words: help, completion and a misspelt option wait for those alone. What the work needs is
 * imported by the work, when it begins (test/cli/loading.test.ts).
 */
export function act<T extends object>(
  work: (context: Context, options: T, ...words: string[]) => Promise<number>,
): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    const command = given.pop() as Command;
    // Commander gives --json and --quiet to the outermost command that knows them: "loaders grub --json".
    const options = command.optsWithGlobals<T & { json?: boolean; quiet?: boolean }>();
    given.pop();
    const terminal = new Terminal({ json: options.json === true, quiet: options.quiet === true });
    const level = options.quiet ? 'error' : (process.env.BOOTSEAL_LOG ?? 'info');
    const context: Context = {
      terminal,
      openLog: () => openLog(level),
      now: Date.now(),
      json: options.json === true,
    };
    try {
      process.exitCode = await work(context, options, ...(given as string[]));
    } catch (error) {
      process.exitCode = report(terminal, error);
    }
  };
}

async function openLog(level: string): Promise<Logger> {
  const { pino } = await import('pino');
  return pino({ base: null, level, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
}

/** What stands at a path, links followed; undefined where nothing does. @throws IoError where that cannot be told. */
export function found(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw cannotRead(path, error);
  }
}

/** A folder that must exist: a misspelt name is told from a folder that holds the wrong things. */
export function folder(text: string): string {
  if (isBucketState(text)) throw new InvalidArgumentError('A bucket cannot be used here: name a folder.');
  if (!found(text)?.isDirectory()) throw new InvalidArgumentError('There is no such folder.');
  return text;
}

/** Where a state lies: a folder that must exist, or a place in a bucket (docs/s3.md). */
export function stateAt(text: string): string {
  return isBucketState(text) ? understood(bucketPlace)(text) : folder(text);
}

/** A file that must exist. */
export function file(text: string): string {
  if (!found(text)?.isFile()) throw new InvalidArgumentError('There is no such file.');
  return text;
}

export function files(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, file(text)];
}

/** The same, where the flag may stand several times. */
export function folders(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, folder(text)];
}

/** A word that a verb understands or refuses: what cannot be meant is found before anything is begun. */
export function understood(parse: (text: string) => unknown): (text: string) => string {
  return (text) => {
    try {
      parse(text);
      return text;
    } catch (error) {
      if (error instanceof Refusal || error instanceof UsageError)
        throw new InvalidArgumentError(error.message);
      throw error;
    }
  };
}

/** `NAME/VERSION`. */
export function releaseId(text: string): string {
  if (!isReleaseId(text)) throw new InvalidArgumentError('A release is NAME/VERSION, as in arch/2026.11.01.');
  return text;
}

/** The same, where several may stand. */
export function releaseIds(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, releaseId(text)];
}

export function channelName(text: string): string {
  if (!isChannelName(text))
    throw new InvalidArgumentError('A channel is small letters, digits, dots, dashes and underscores.');
  return text;
}

/** A port number; 0 asks for an ephemeral one. */
export function port(text: string): number {
  if (!/^(0|[1-9][0-9]{0,4})$/.test(text) || Number(text) > 65535) {
    throw new InvalidArgumentError('A port is a number from 0 to 65535.');
  }
  return Number(text);
}

/** A time: `2026-11-01`, `2026-11-01T00:00:00Z`, or seconds since 1970 with an `@` in front. */
export function time(text: string): number {
  const seconds = /^@(\d{1,11})$/.exec(text)?.[1];
  if (seconds !== undefined) return Number(seconds) * 1000;
  const at = /^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?$/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at))
    throw new InvalidArgumentError('A time is 2026-11-01, 2026-11-01T00:00:00Z or @SECONDS.');
  return at;
}
