import { CommanderError } from 'commander';
import { UsageError } from '../errors/usage.ts';
import { callInWords } from './call-words.ts';
import { EXIT } from './exit.ts';
import { programFor } from './program.ts';
import { report } from './report.ts';
import { Terminal } from './terminal.ts';

/** Does what the words behind the program's name say, and sets the exit status. */
export async function runWords(words: readonly string[]): Promise<void> {
  // One object, whatever happens: a program that reads it must not have to guess from an empty line.
  const terminal = new Terminal({ json: words.includes('--json'), quiet: false });
  try {
    const program = await programFor(words);
    await program.parseAsync(words, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help that was asked for, or is shown where nothing was, is on the terminal already.
      if (error.exitCode === 0) process.exitCode = EXIT.ok;
      else if (error.code !== 'commander.help')
        process.exitCode = report(terminal, new UsageError(callInWords(error)));
      else {
        process.exitCode = EXIT.usage;
        terminal.json({ error: 'Name a command; --help lists them.' });
      }
    } else process.exitCode = report(terminal, error);
  }
}
