import type { Operand } from './operand.ts';
import { type CommandOutline, flatten, type OptionOutline } from './outline.ts';
import { plainWord, quoted } from './shell-quote.ts';

/** Completion for zsh 5, by its own `_arguments`: a function for each command, as `zshcompsys(1)` has it. */
export function zshCompletion(program: CommandOutline): string {
  return `#compdef bootseal
# Made by "bootseal completion zsh" out of the commands' own definitions.

${flatten(program).map(commandFunction).join('\n\n')}

# Loaded by compinit it is the body of the function of its name, and defines that anew; sourced, it is not.
if [[ $funcstack[1] == _bootseal ]]; then
  _bootseal "$@"
elif (( $+functions[compdef] )); then
  compdef _bootseal bootseal
fi
`;
}

function commandFunction(command: CommandOutline): string {
  const { words, commands, options, operands } = command;
  const specs = options.map(optionSpec);
  const name = functionName(words);
  if (commands.length === 0) {
    specs.push(...operands.map(operandSpec));
    return `${name}() {\n  _arguments \\\n${lines(specs)}\n}`;
  }
  specs.push(quoted('1: :->command'), quoted('*:: :->rest'));
  const names = commands.map((inner) => ({ word: plainWord(inner.words.at(-1) ?? ''), inner }));
  const described = names.map(({ word, inner }) => quoted(`${word}:${inner.summary}`));
  const others = operands.map((operand) => `    ${actionOf(operand)} && ret=0`);
  return `${name}() {
  local curcontext=$curcontext state line ret=1
  local -a commands
  typeset -A opt_args
  _arguments -C \\
${lines(specs)} && ret=0
  case $state in
  command)
    commands=(
${described.map((text) => `      ${text}`).join('\n')}
    )
    _describe -t commands command commands && ret=0
${others.map((line) => `${line}\n`).join('')}    ;;
  rest)
    case $words[1] in
${names.map(({ word, inner }) => `    ${word}) ${functionName(inner.words)} && ret=0 ;;`).join('\n')}
    esac
    ;;
  esac
  return ret
}`;
}

function functionName(words: readonly string[]): string {
  return ['_bootseal', ...words.map(plainWord)].join('_');
}

function lines(specs: readonly string[]): string {
  return specs.map((spec) => `    ${spec}`).join(' \\\n');
}

/** Options that take a word may stand several times. */
function optionSpec({ names, summary, operand }: OptionOutline): string {
  const told = summary === '' ? '' : `[${summary.replace(/[\\[\]]/g, '\\$&')}]`;
  if (operand === undefined) {
    const shown = names.map((name) => quoted(`(${names.join(' ')})${name}${told}`));
    return shown.join(' ');
  }
  const value = `:${messageOf(operand)}:${actionOf(operand)}`;
  return names.map((name) => quoted(`*${name}${name.startsWith('--') ? '=' : ''}${told}${value}`)).join(' ');
}

function operandSpec(operand: Operand & { readonly summary: string }): string {
  return quoted(`${operand.many ? '*' : ''}:${messageOf(operand)}:${actionOf(operand)}`);
}

function messageOf({ name }: Operand): string {
  return name.replaceAll(':', '\\:');
}

function actionOf({ kind, choices }: Operand): string {
  switch (kind) {
    case 'folder':
      return '_files -/';
    case 'file':
      return '_files';
    case 'interface':
      return '_net_interfaces';
    case 'user':
      return '_users';
    case 'group':
      return '_groups';
    case 'choice':
      return `(${choices.map(plainWord).join(' ')})`;
    case 'word':
      // A blank alone, which only shows what is wanted, would keep the options from being offered.
      return '()';
  }
}
