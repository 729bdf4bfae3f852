import type { Operand } from './operand.ts';
import { type CommandOutline, flatten } from './outline.ts';
import { plainWord, quoted } from './shell-quote.ts';

/**
 * Completion for bash 4.4 or later. It needs nothing but bash: paths are left to readline, which knows about quotes,
 * tildes and blanks in names.
 */
export function bashCompletion(program: CommandOutline): string {
  return `# bash completion for bootseal
# Made by "bootseal completion bash" out of the commands' own definitions.

# Tells of a command: the commands below it, its options, each with the kind of word that follows it, and the kinds of
# the words that it takes. A kind that begins with | lists its words; one that ends with ... may stand several times.
_bootseal_tell() {
    case $1 in
${flatten(program).map(telling).join('\n')}
    esac
}

# Sets "kind" to what follows an option; to nothing where nothing does.
_bootseal_kind_after() {
    local entry
    kind=
    for entry in $options; do
        if [[ $entry == "$1="* ]]; then
            kind=\${entry#*=}
            return
        fi
    done
}

_bootseal_words() {
    local word
    while read -r word; do
        COMPREPLY+=("$word")
    done < <(compgen "$@")
}

_bootseal_offer() {
    case \${1%...} in
    folder) compopt -o dirnames 2> /dev/null ;;
    file) compopt -o default 2> /dev/null ;;
    interface) _bootseal_words -W "$(cd /sys/class/net 2> /dev/null && echo *)" -- "$2" ;;
    user) _bootseal_words -u -- "$2" ;;
    group) _bootseal_words -g -- "$2" ;;
    '|'*)
        local words=\${1%...}
        _bootseal_words -W "\${words//|/ }" -- "$2"
        ;;
    esac
}

_bootseal() {
    local current=\${COMP_WORDS[COMP_CWORD]} path='' commands options operands
    local word kind='' wanted='' again='' glued='' before=''
    local -a kinds
    local -i at given=0
    COMPREPLY=()
    _bootseal_tell ''
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=\${COMP_WORDS[at]}
        # bash takes --mode=ram and 52:54:00 apart.
        if [[ $word == '=' && $wanted ]]; then
            continue
        elif [[ $word == : || $glued ]]; then
            [[ $word == : ]] && glued=1 || glued=
            continue
        fi
        if [[ $wanted && ! ($again && $word == -*) ]]; then
            again=1
            [[ $wanted == *... ]] || wanted=
        elif [[ $word == -* ]]; then
            wanted='' again=''
            if [[ $word != *=* ]]; then
                _bootseal_kind_after "$word"
                wanted=$kind
            fi
        elif [[ $given -eq 0 && " $commands " == *" $word "* ]]; then
            path=\${path:+$path }$word
            _bootseal_tell "$path"
        else
            given+=1
        fi
    done

    [[ $current == '=' || $current == : ]] && current=
    if [[ ! $wanted && $current == --*=* ]]; then
        before=\${current%%=*}=
        _bootseal_kind_after "\${before%=}"
        _bootseal_offer "$kind" "\${current#*=}"
        COMPREPLY=("\${COMPREPLY[@]/#/$before}")
    elif [[ $wanted && ! ($again && $current == -*) ]]; then
        _bootseal_offer "$wanted" "$current"
    elif [[ $current == -* || ! $commands$operands ]]; then
        for word in $options; do
            [[ $word == "$current"* ]] && COMPREPLY+=("\${word%%=*}")
        done
    else
        [[ $given -eq 0 && $commands ]] && _bootseal_words -W "$commands" -- "$current"
        read -r -a kinds <<< "$operands"
        ((given >= \${#kinds[@]})) && [[ $operands == *... ]] && given=$((\${#kinds[@]} - 1))
        [[ \${kinds[given]:-} ]] && _bootseal_offer "\${kinds[given]}" "$current"
    fi
    return 0
}

complete -F _bootseal bootseal
`;
}

function telling({ words, commands, options, operands }: CommandOutline): string {
  const entries = options.flatMap(({ names, operand }) =>
    names.map((name) => (operand === undefined ? name : `${name}=${kindOf(operand)}`)),
  );
  const lists = {
    commands: commands.map((inner) => plainWord(inner.words.at(-1) ?? '')),
    options: entries,
    operands: operands.map(kindOf),
  };
  const lines = Object.entries(lists).map(([name, list]) => `        ${name}=${quoted(list.join(' '))}`);
  return `    ${quoted(words.join(' '))})\n${lines.join('\n')}\n        ;;`;
}

function kindOf({ kind, choices, many }: Operand): string {
  const name = kind === 'choice' ? choices.map((choice) => `|${plainWord(choice)}`).join('') : kind;
  return `${name}${many ? '...' : ''}`;
}
