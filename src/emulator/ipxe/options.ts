import { strtoul } from '../../formats/script/ipxe-settings.ts';
import {
  ECANCELED_NO_OP,
  EINVAL_INTEGER,
  EINVAL_MISSING_ARGUMENT,
  EINVAL_UNKNOWN_OPTION,
  ERANGE,
  type Failure,
} from './failure.ts';

/**
 * `flag` takes no argument, the others need one. `key` is a character or a number; a `timeout` is written in
 * milliseconds and read as ticks.
 */
export interface OptionSpec {
  readonly long: string;
  readonly short: string;
  readonly kind: 'flag' | 'string' | 'integer' | 'key' | 'timeout';
}

export interface CommandSpec {
  readonly options: readonly OptionSpec[];
  readonly min: number;
  /** Arguments at most; absent means any number. */
  readonly max?: number;
  readonly usage?: string;
}

export interface Parsed {
  readonly flags: ReadonlySet<string>;
  readonly strings: ReadonlyMap<string, string>;
  readonly numbers: ReadonlyMap<string, number>;
  readonly args: readonly string[];
}

/**
 * Options as iPXE's own getopt takes them. Sources: `src/core/getopt.c`, `src/core/parseopt.c`.
 *
 * Options end at the first word that is none, or behind `--`; a word that begins with `-` is never taken as
 * the argument of the option before it.
 */
export function parseOptions(
  argv: readonly string[],
  spec: CommandSpec,
  print: (text: string) => void,
): Parsed | { readonly failure: Failure } {
  const command = argv[0] ?? '';
  const flags = new Set<string>();
  const strings = new Map<string, string>();
  const numbers = new Map<string, number>();
  const usage = (failure: Failure): { failure: Failure } => {
    print(usageText(command, spec));
    return { failure };
  };
  let index = 1;
  let within = 0;

  while (index < argv.length) {
    const word = argv[index] ?? '';
    if (within === 0 && !word.startsWith('-')) break;
    if (within === 0 && word === '--') {
      index += 1;
      break;
    }
    let option: OptionSpec;
    let argument: string | undefined;
    const next = (): string | undefined => {
      const candidate = argv[index];
      if (candidate === undefined || candidate.startsWith('-')) return undefined;
      index += 1;
      return candidate;
    };
    if (within === 0 && word.startsWith('--')) {
      const equals = word.indexOf('=');
      const name = word.slice(2, equals < 0 ? undefined : equals);
      argument = equals < 0 ? undefined : word.slice(equals + 1);
      const found = [...spec.options, HELP].find((candidate) => candidate.long === name);
      if (found === undefined) {
        print(`Unrecognised option "${word}"\n`);
        return usage(EINVAL_UNKNOWN_OPTION);
      }
      option = found;
      index += 1;
      if (option.kind === 'flag' && argument !== undefined) {
        print(`Option "${name}" takes no argument\n`);
        return usage(EINVAL_MISSING_ARGUMENT);
      }
      if (option.kind !== 'flag') argument ??= next();
    } else {
      within = Math.max(within, 1);
      const letter = word.charAt(within);
      const found = [...spec.options, HELP].find((candidate) => candidate.short === letter);
      if (found === undefined) {
        print(`Unrecognised option "-${letter}"\n`);
        return usage(EINVAL_UNKNOWN_OPTION);
      }
      option = found;
      within += 1;
      const inline = word.slice(within);
      if (option.kind !== 'flag' || inline === '') {
        within = 0;
        index += 1;
      }
      if (option.kind !== 'flag') argument = inline === '' ? next() : inline;
    }
    if (option === HELP) return usage(ECANCELED_NO_OP);
    if (option.kind === 'flag') {
      flags.add(option.long);
      continue;
    }
    if (argument === undefined) {
      print(`Option "${option.long}" requires an argument\n`);
      return usage(EINVAL_MISSING_ARGUMENT);
    }
    if (option.kind === 'string' || (option.kind === 'key' && argument.length === 1)) {
      strings.set(option.long, argument);
      continue;
    }
    const value = parseInteger(argument, print);
    if (typeof value !== 'number') return { failure: value };
    numbers.set(option.long, option.kind === 'timeout' ? ticksOf(value) : value);
  }

  const args = argv.slice(index);
  if (args.length < spec.min || args.length > (spec.max ?? Number.POSITIVE_INFINITY)) return usage(ERANGE);
  return { flags, strings, numbers, args };
}

/** iPXE's `TICKS_PER_SEC`. */
const TICKS = 1024;

/** `parse_timeout` multiplies in 32 bits before it divides: 4194304 ms are 0, which is no timeout at all. */
function ticksOf(milliseconds: number): number {
  return Math.floor((Math.imul(milliseconds, TICKS) >>> 0) / 1000);
}

/** An unsigned 32-bit integer as `parse_integer` reads it, or iPXE's complaint about it. */
export function parseInteger(text: string, print: (text: string) => void): number | Failure {
  const { value, rest } = strtoul(text);
  if (rest === '') return value;
  print(`"${text}": invalid integer value\n`);
  return EINVAL_INTEGER;
}

const HELP: OptionSpec = { long: 'help', short: 'h', kind: 'flag' };

function usageText(command: string, spec: CommandSpec): string {
  const options = spec.options.map(
    ({ long, short, kind }) => ` [-${short}|--${long}${kind === 'flag' ? '' : ` <${long}>`}]`,
  );
  const usage = spec.usage === undefined ? '' : ` ${spec.usage}`;
  return `Usage:\n\n  ${command}${options.join('')}${usage}\n\nSee https://ipxe.org/cmd/${command} for further information\n`;
}
