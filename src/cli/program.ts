import { Command } from 'commander';
import { COMMANDS } from './command-table.ts';
import { type CommandName, SUMMARIES } from './summaries.ts';
import { ownVersion } from './version.ts';

/**
 * `bootseal` as these words call it: with the command that they name, or, where they name none, with all of them by name
 * alone, which is what its help tells.
 *
 * @param words behind the program's name.
 */
export async function programFor([first = '', second = '']: readonly string[]): Promise<Command> {
  const called = first === 'help' ? second : first;
  return isCommand(called) ? withCommands([await load(called)]) : withCommands(names().map(byName));
}

/** `bootseal` with every command. */
export async function wholeProgram(): Promise<Command> {
  return withCommands(await Promise.all(names().map(load)));
}

function names(): readonly CommandName[] {
  return Object.keys(SUMMARIES) as CommandName[];
}

function isCommand(word: string): word is CommandName {
  return Object.hasOwn(SUMMARIES, word);
}

function load(name: CommandName): Promise<Command> {
  return COMMANDS[name](wholeProgram);
}

/** For help, and for who misspells one. Called all the same, as behind "--", it must not do nothing and say nothing. */
function byName(name: CommandName): Command {
  return new Command(name)
    .description(SUMMARIES[name])
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_options: object, { args }: Command) => {
      await withCommands([await load(name)]).parseAsync([name, '--', ...args], { from: 'user' });
    });
}

function withCommands(commands: readonly Command[]): Command {
  const program = new Command('bootseal')
    .description('Netboot with verified chain loading: seal a release, serve it, prove what a machine runs.')
    .version(ownVersion())
    // What stands behind a command's name is that command's to read, and behind its own command's name that one's.
    .enablePositionalOptions();
  for (const command of commands) program.addCommand(command);
  throwInsteadOfExit(program);
  return program;
}

/** Commander ends the process itself on a wrong flag, with 1, in words of its own; a usage error is 2 here, and in ours. */
function throwInsteadOfExit(command: Command): void {
  command.exitOverride().configureOutput({ outputError: () => {} });
  for (const inner of command.commands) throwInsteadOfExit(inner);
}
