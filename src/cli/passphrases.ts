import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { Writable } from 'node:stream';
import { type Command, InvalidArgumentError } from 'commander';
import { codeOf, inWords } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';
import type { AskPassphrase } from '../signing/keys/passphrase.ts';

/** Passphrases of private keys: from a terminal, without showing them, or from a descriptor that a program opened. */

export interface PassphraseWords {
  readonly passphraseFd?: number;
}

export function addPassphraseOption(command: Command): Command {
  return command.option(
    '--passphrase-fd <n>',
    'read the passphrases of keys from this descriptor: one line for all, or one for each in the order they are asked',
    descriptor,
  );
}

function descriptor(text: string): number {
  if (!/^(0|[1-9][0-9]{0,4})$/.test(text))
    throw new InvalidArgumentError('A descriptor is a number, as in 3.');
  return Number(text);
}

/**
 * Who is asked for passphrases; undefined where there is neither a descriptor nor a terminal.
 *
 * @throws UsageError where the descriptor cannot be read.
 */
export function passphrases({ passphraseFd }: PassphraseWords): AskPassphrase | undefined {
  if (passphraseFd !== undefined) return fromLines(readLines(passphraseFd));
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined;
  return (path, attempt) =>
    promptHidden(
      attempt === 1 ? `Passphrase of ${path}: ` : `That is not the passphrase of ${path}; again: `,
    );
}

/** The same key once more means that the line was wrong: it is not tried three times. */
function fromLines(lines: readonly string[]): AskPassphrase {
  const [only, ...more] = lines;
  const given = new Map<string, string | undefined>();
  const rest = [...lines];
  return async (path, attempt) => {
    if (attempt > 1) return undefined;
    if (more.length === 0) return only;
    if (!given.has(path)) given.set(path, rest.shift());
    return given.get(path);
  };
}

function readLines(fd: number): string[] {
  let bytes: Buffer;
  try {
    bytes = readFileSync(fd);
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    throw new UsageError(
      `The descriptor ${fd} of --passphrase-fd cannot be read: ${inWords(error)}. A file is given as in ${fd}< FILE.`,
    );
  }
  const text = bytes.toString();
  // Other bytes would all become one replacement character, and different passphrases the same.
  if (!isUtf8(bytes) || /[\0\r]/.test(text))
    throw new UsageError(
      `The descriptor ${fd} of --passphrase-fd gave what is no line of UTF-8: lines end with a line feed alone.`,
    );
  if (text === '') throw new UsageError(`The descriptor ${fd} of --passphrase-fd gave nothing.`);
  const lines = text.replace(/\n$/, '').split('\n');
  if (lines.includes(''))
    throw new UsageError(`The descriptor ${fd} of --passphrase-fd gave an empty passphrase.`);
  return lines;
}

/** Asks on the terminal and shows nothing of what is typed. */
export function promptHidden(question: string): Promise<string | undefined> {
  process.stderr.write(question);
  // Readline echoes to its output, so that goes nowhere.
  const nowhere = new Writable({ write: (_, __, done) => done() });
  const lines = createInterface({ input: process.stdin, output: nowhere, terminal: true });
  return new Promise((resolve) => {
    const end = (text: string | undefined) => {
      process.stderr.write('\n');
      resolve(text);
      lines.close();
    };
    lines.once('line', (text) => end(text));
    // Ctrl-C and Ctrl-D: whoever asked ends as if there were no terminal.
    lines.once('SIGINT', () => end(undefined));
    lines.once('close', () => resolve(undefined));
  });
}
