import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { COMMANDS } from './command-table.ts';

/** `bootseal` with the command of this name, or with all where it has none of this name: its help tells of all. */
export async function programFor(called: string): Promise<Command> {
  if (!Object.hasOwn(COMMANDS, called)) return wholeProgram();
  return withCommands([called]);
}

/** `bootseal` with every command. */
export async function wholeProgram(): Promise<Command> {
  return withCommands(Object.keys(COMMANDS));
}

async function withCommands(names: readonly string[]): Promise<Command> {
  const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as {
    readonly version: string;
  };
  const program = new Command('bootseal')
    .description('Netboot with verified chain loading: seal a release, serve it, prove what a machine runs.')
    .version(version)
    .showHelpAfterError('(--help tells more)')
    // What stands behind a command's name is that command's to read, and behind its own command's name that one's.
    .enablePositionalOptions();
  for (const name of names) {
    const command = await COMMANDS[name]?.(wholeProgram);
    if (command) program.addCommand(command);
  }
  return program;
}
