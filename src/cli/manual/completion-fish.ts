import type { Operand } from './operand.ts';
import { type CommandOutline, flatten, type OptionOutline } from './outline.ts';
import { plainWord } from './shell-quote.ts';

/** Completion for fish 3 or later. */
export function fishCompletion(program: CommandOutline): string {
  const all = flatten(program);
  const names = all.filter(({ words }) => words.length > 0).map(({ words }) => fishQuoted(words.join(' ')));
  return `# fish completion for bootseal
# Made by "bootseal completion fish" out of the commands' own definitions.

set -g __bootseal_commands ${names.join(' ')}

# Whether the line calls this command: none for bootseal itself.
function __bootseal_calls
    set -l words (commandline -opc)
    set -l called
    for word in $words[2..-1]
        set -l longer (string join -- ' ' $called $word)
        if contains -- $longer $__bootseal_commands
            set called $called $word
        end
    end
    test "$argv" = "$called"
end

complete -c bootseal -f
${all.flatMap(commandLines).join('\n')}
`;
}

function commandLines({ words, commands, options, operands }: CommandOutline): readonly string[] {
  const head = `complete -c bootseal -n ${fishQuoted(['__bootseal_calls', ...words].join(' '))}`;
  return [
    ...commands.map(({ words: inner, summary }) => `${head} -a ${inner.at(-1)} -d ${fishQuoted(summary)}`),
    ...options.map((option) => `${head} ${optionWords(option)}`),
    ...operands.flatMap((operand) => {
      const offered = offer(operand);
      return offered === '' ? [] : [`${head} ${offered}`];
    }),
  ];
}

function optionWords({ names, summary, operand }: OptionOutline): string {
  const said = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const told = summary === '' ? [] : ['-d', fishQuoted(summary)];
  const value = operand === undefined ? [] : [operand.kind === 'file' ? '-r' : '-x', offer(operand)];
  return [...said, ...value, ...told].filter((word) => word !== '').join(' ');
}

function offer({ kind, choices }: Operand): string {
  switch (kind) {
    case 'folder':
      return "-a '(__fish_complete_directories (commandline -ct))'";
    case 'file':
      return '-F';
    case 'interface':
      return "-a '(__fish_print_interfaces)'";
    case 'user':
      return "-a '(__fish_complete_users)'";
    case 'group':
      return "-a '(__fish_complete_groups)'";
    case 'choice':
      return `-a ${fishQuoted(choices.map(plainWord).join(' '))}`;
    case 'word':
      return '';
  }
}

/** Between single quotes fish knows two escapes. */
function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`;
}
