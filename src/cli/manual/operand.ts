import type { Argument, Option } from 'commander';
import { file, files, folder, folders } from '../context.ts';

/** What a shell can offer in the place of a word. */
export type OperandKind = 'file' | 'folder' | 'interface' | 'user' | 'group' | 'choice' | 'word';

/** A word that stands behind an option, or in a place of its own. */
export interface Operand {
  /** As the help names it: `dir`. */
  readonly name: string;
  readonly kind: OperandKind;
  /** Of a choice. */
  readonly choices: readonly string[];
  /** Whether several may follow. */
  readonly many: boolean;
}

/** What the house's placeholders stand for; a file is whatever a path leads to. Any other is a word of its own. */
const PLACEHOLDERS: Readonly<Record<string, OperandKind>> = {
  dir: 'folder',
  tree: 'folder',
  file: 'file',
  image: 'file',
  path: 'file',
  paths: 'file',
  proof: 'file',
  request: 'file',
  response: 'file',
  socket: 'file',
  source: 'file',
  interface: 'interface',
  'name|uid': 'user',
  'name|uid[:asks]': 'user',
  'name|gid': 'group',
};

/** How a path is read says what it leads to. */
const READERS = new Map<unknown, OperandKind>([
  [folder, 'folder'],
  [folders, 'folder'],
  [file, 'file'],
  [files, 'file'],
]);

/** What follows an option; undefined where nothing does. */
export function operandOfOption(option: Option): Operand | undefined {
  const name = /[<[]([^\s]+?)(?:\.\.\.)?[>\]]$/.exec(option.flags)?.[1];
  return name === undefined ? undefined : operand(name, option);
}

export function operandOfArgument(argument: Argument): Operand {
  return operand(argument.name(), argument);
}

function operand(
  name: string,
  { parseArg, argChoices, variadic }: Pick<Option, 'parseArg' | 'argChoices' | 'variadic'>,
): Operand {
  const choices = argChoices ?? [];
  const kind = choices.length > 0 ? 'choice' : (READERS.get(parseArg) ?? placeholderKind(name));
  return { name, kind, choices, many: variadic };
}

/** `tree|image` may be either: whatever a path leads to. */
function placeholderKind(name: string): OperandKind {
  const whole = PLACEHOLDERS[name];
  if (whole !== undefined) return whole;
  const kinds = name.split('|').map((part) => PLACEHOLDERS[part]);
  if (kinds.every((kind) => kind === 'folder')) return 'folder';
  return kinds.some((kind) => kind === 'folder' || kind === 'file') ? 'file' : 'word';
}
