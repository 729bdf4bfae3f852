import { CommanderError } from 'commander';
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
      process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
      if (error.exitCode !== 0) terminal.json({ error: error.message });
    } else process.exitCode = report(terminal, error);
  }
}
