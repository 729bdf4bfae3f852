#!/usr/bin/env node
import { CommanderError } from 'commander';
import { EXIT } from './exit.ts';
import { watchOutput } from './output.ts';
import { programFor } from './program.ts';
import { report } from './report.ts';
import { Terminal } from './terminal.ts';

const program = await programFor(process.argv[2] ?? '');

// Commander ends the process itself on a wrong flag, with 1; a usage error is 2 here.
for (const command of [
  program,
  ...program.commands,
  ...program.commands.flatMap(({ commands }) => commands),
]) {
  command.exitOverride();
}

// One object, whatever happens: a program that reads it must not have to guess from an empty line.
const json = process.argv.includes('--json');
watchOutput(json);
const terminal = new Terminal({ json, quiet: false });
try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    if (error.exitCode !== 0) terminal.json({ error: error.message });
  } else process.exitCode = report(terminal, error);
}
