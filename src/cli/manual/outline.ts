import type { Command, Option } from 'commander';
import { exampleOf } from '../context.ts';
import { type Operand, operandOfArgument, operandOfOption } from './operand.ts';

/** A command as its own definition tells of it: what manual pages and completions are made of. */
export interface CommandOutline {
  /** Behind `bootseal`: none for the program itself, `['machines', 'list']`. */
  readonly words: readonly string[];
  readonly summary: string;
  /** What stands behind the words: `[options] <tree>`. */
  readonly usage: string;
  readonly example?: string;
  readonly operands: readonly (Operand & { readonly summary: string })[];
  readonly options: readonly OptionOutline[];
  /** `help`, which commander adds, among them. */
  readonly commands: readonly CommandOutline[];
}

export interface OptionOutline {
  /** `-n <number>` */
  readonly flags: string;
  /** `--version` and `-V`: each as it is typed. */
  readonly names: readonly string[];
  readonly summary: string;
  /** With choices and default in words. */
  readonly description: string;
  /** Whether the command cannot be called without. */
  readonly demanded: boolean;
  readonly operand?: Operand;
}

/**
 * Reads a program made with commander.
 *
 * @param program the outermost, whose commands are meant where an argument is called `command`.
 */
export function outlineOf(
  command: Command,
  words: readonly string[] = [],
  program: Command = command,
): CommandOutline {
  const help = command.createHelp();
  const own = new Set(command.commands);
  const example = exampleOf(command);
  return {
    words,
    summary: command.description(),
    usage: command.usage(),
    ...(example === undefined ? {} : { example }),
    operands: help.visibleArguments(command).map((argument) => ({
      ...(argument.name() === 'command' ? commandOperand(program) : operandOfArgument(argument)),
      summary: help.argumentDescription(argument),
    })),
    options: help
      .visibleOptions(command)
      .map((option) => optionOutline(option, help.optionDescription(option))),
    commands: help
      .visibleCommands(command)
      .map((inner) =>
        own.has(inner) ? outlineOf(inner, [...words, inner.name()], program) : helpOutline(command, words),
      ),
  };
}

/** Every command below this one and itself, the outermost first. */
export function flatten(outline: CommandOutline): readonly CommandOutline[] {
  return [outline, ...outline.commands.flatMap(flatten)];
}

function optionOutline(option: Option, description: string): OptionOutline {
  const operand = operandOfOption(option);
  return {
    flags: option.flags,
    names: [option.short, option.long].filter((name) => name !== undefined),
    summary: option.description,
    description,
    demanded: option.mandatory,
    ...(operand === undefined ? {} : { operand }),
  };
}

/** The one that commander adds and does not show: its word is a command beside it. */
function helpOutline(above: Command, words: readonly string[]): CommandOutline {
  return {
    words: [...words, 'help'],
    summary: 'tell how a command is called',
    usage: '[command]',
    operands: [{ ...commandOperand(above), summary: 'which one' }],
    options: [],
    commands: [],
  };
}

function commandOperand({ commands }: Command): Operand {
  return { name: 'command', kind: 'choice', choices: commands.map((one) => one.name()), many: false };
}
