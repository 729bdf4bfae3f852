import type { CommanderError } from 'commander';

/** What commander says, by its code, and the same in our words: one sentence, with what to do. */
const SAID: Readonly<Record<string, readonly [RegExp, (found: readonly string[]) => string]>> = {
  'commander.unknownOption': [
    /^error: unknown option '(.*?)'(?:\n\(Did you mean (?:one of )?(.*)\?\))?$/s,
    ([, flag = '', meant]) => `There is no option ${quoted(flag)}; ${instead(meant)}`,
  ],
  'commander.unknownCommand': [
    /^error: unknown command '(.*?)'(?:\n\(Did you mean (?:one of )?(.*)\?\))?$/s,
    ([, name = '', meant]) => `There is no command ${quoted(name)}; ${instead(meant)}`,
  ],
  'commander.missingArgument': [
    /^error: missing required argument '(.*)'$/s,
    ([, name = '']) => `<${name}> must be given; --help shows where.`,
  ],
  'commander.optionMissingArgument': [
    /^error: option '(.*)' argument missing$/s,
    ([, flags = '']) => `${flagOf(flags)} needs a value: ${flags}.`,
  ],
  'commander.missingMandatoryOptionValue': [
    /^error: required option '(.*)' not specified$/s,
    ([, flags = '']) => `${flags} must be given.`,
  ],
  'commander.conflictingOption': [
    /^error: (?:option )?'(.*)' cannot be used with (?:option )?'(.*)'$/s,
    ([, one = '', other = '']) => `${flagOf(one)} cannot be given with ${flagOf(other)}.`,
  ],
  'commander.excessArguments': [
    /^error: too many arguments(?: for '(.*)')?\. Expected (\d+) arguments? but got (\d+)\.$/s,
    ([, name = 'bootseal', most = '', given = '']) =>
      `${name} takes ${most === '1' ? 'one word' : most === '0' ? 'no word' : `${most} words`} of this kind, and ${given} were given.`,
  ],
  'commander.invalidArgument': [
    /^error: (?:option '(.*?)' argument '(.*)' is invalid|command-argument value '(.*)' is invalid for argument '(.*?)')\. (.*)$/s,
    ([, flags, ofFlag = '', ofWord = '', name = '', why = '']) =>
      flags === undefined
        ? `<${name}> cannot be ${quoted(ofWord)}: ${lowered(why)}`
        : `${flagOf(flags)} cannot be ${quoted(ofFlag)}: ${lowered(why)}`,
  ],
};

/** Why a call cannot be meant, in one sentence of ours. */
export function callInWords({ code, message }: CommanderError): string {
  const [pattern, words] = SAID[code] ?? [];
  const found = pattern?.exec(message);
  return found && words ? words(found) : 'These words cannot be meant; --help shows how they are written.';
}

function instead(meant: string | undefined): string {
  return meant === undefined
    ? '--help lists those that there are.'
    : `did you mean ${meant.split(', ').join(' or ')}?`;
}

/** `--port <n>` → `--port` */
function flagOf(flags: string): string {
  return /--[a-z0-9-]+/.exec(flags)?.[0] ?? flags;
}

/** No character of it is a command to a terminal. */
function quoted(text: string): string {
  return JSON.stringify(text);
}

/** As it goes on behind a colon; what is written in capitals stays. */
function lowered(why: string): string {
  const sentence = why.replace(/^Allowed choices are /, 'it is one of ');
  return /^[A-Z]([a-z ]|$)/.test(sentence) ? sentence.charAt(0).toLowerCase() + sentence.slice(1) : sentence;
}
