import type { CommandOutline, OptionOutline } from './outline.ts';
import { ENVIRONMENT, EXIT_STATUS, FILES, PROGRAMS_ENVIRONMENT } from './page-sections.ts';
import { bold, exampleLines, italic, placeholder, roffText, terms } from './roff.ts';

/** A page of section 1, in man(7). */
export interface ManPage {
  /** `bootseal-serve` */
  readonly name: string;
  /** Its lines, without line ends. */
  readonly lines: readonly string[];
}

export interface PageTerms {
  readonly version: string;
  /** The day that stands at its foot: milliseconds since 1970. */
  readonly issued: number;
}

const HOUSE = 'bootseal';

/** `bootseal(1)`, and `bootseal-COMMAND(1)` for each command, with those below it. */
export function manPages(program: CommandOutline, terms: PageTerms): readonly ManPage[] {
  const commands = program.commands.filter(({ words }) => words[0] !== 'help');
  return [programPage(program, commands, terms), ...commands.map((command) => commandPage(command, terms))];
}

function programPage(
  program: CommandOutline,
  commands: readonly CommandOutline[],
  pageTerms: PageTerms,
): ManPage {
  return {
    name: HOUSE,
    lines: [
      title(HOUSE, pageTerms),
      ...nameSection(HOUSE, 'netboot with verified chain loading'),
      '.SH SYNOPSIS',
      `${bold(HOUSE)} ${italic('command')} [${italic('options')}]`,
      '.SH DESCRIPTION',
      roffText(program.summary),
      '.PP',
      roffText('Each command has a page of its own:'),
      `${bold(`man ${HOUSE}-`)}${italic('command')}.`,
      '.SH COMMANDS',
      ...terms(commands.map(({ words, summary }) => [bold(words.join(' ')), sentence(summary)])),
      '.SH OPTIONS',
      ...optionTerms(program.options),
      '.SH EXIT STATUS',
      ...terms(EXIT_STATUS.map(([status, meaning]) => [bold(status), meaning])),
      '.SH ENVIRONMENT',
      ...terms(ENVIRONMENT.map(([variable, meaning]) => [bold(variable), meaning])),
      '.PP',
      roffText('Programs that are named with --signer-command find in theirs:'),
      ...terms(PROGRAMS_ENVIRONMENT.map(([variable, meaning]) => [bold(variable), meaning])),
      '.SH FILES',
      ...terms(FILES.map(([path, meaning]) => [italic(path), meaning])),
      '.SH EXAMPLES',
      roffText('All of it on a sample release, an emulated machine that boots it among it:'),
      ...exampleLines('bootseal demo'),
      '.SH SEE ALSO',
      ...seeAlso(commands.map(({ words }) => words.join('-'))),
    ],
  };
}

function commandPage(command: CommandOutline, pageTerms: PageTerms): ManPage {
  const name = [HOUSE, ...command.words].join('-');
  const inner = command.commands.filter(({ words }) => words.at(-1) !== 'help');
  return {
    name,
    lines: [
      title(name, pageTerms),
      ...nameSection(name, command.summary),
      '.SH SYNOPSIS',
      ...[command, ...inner].flatMap((one, at) => [...(at > 0 ? ['.br'] : []), synopsis(one)]),
      '.SH DESCRIPTION',
      roffText(sentence(command.summary)),
      ...operandLines(command),
      '.SH OPTIONS',
      ...optionTerms(command.options),
      ...(inner.length > 0 ? ['.SH COMMANDS'] : []),
      ...inner.flatMap((one) => innerSection(one, command)),
      '.SH EXIT STATUS',
      ...terms(EXIT_STATUS.map(([status, meaning]) => [bold(status), meaning])),
      ...(command.example === undefined ? [] : ['.SH EXAMPLES', ...exampleLines(command.example)]),
      '.SH SEE ALSO',
      ...seeAlso(['']),
    ],
  };
}

function innerSection(inner: CommandOutline, outer: CommandOutline): readonly string[] {
  const known = new Set(outer.options.map(({ flags, summary }) => `${flags} ${summary}`));
  const own = inner.options.filter(({ flags, summary }) => !known.has(`${flags} ${summary}`));
  return [
    `.SS ${roffText(inner.words.join(' '))}`,
    roffText(sentence(inner.summary)),
    '.PP',
    synopsis(inner),
    ...operandLines(inner),
    ...optionTerms(own),
    ...(inner.example === undefined ? [] : ['.PP', 'Example:', ...exampleLines(inner.example)]),
  ];
}

/** Options without which a command cannot be called stand in its call. */
function synopsis({ words, usage, options }: CommandOutline): string {
  const demanded = options.filter(({ demanded }) => demanded).map(({ flags }) => optionText(flags));
  const rest = usage
    .split(' ')
    .filter((word) => word !== '')
    .map((word) => (/^[<[]/.test(word) ? placeholder(word) : roffText(word)));
  return [bold([HOUSE, ...words].join(' ')), ...demanded, ...rest].join(' ');
}

function operandLines({ operands }: CommandOutline): readonly string[] {
  return terms(
    operands
      .filter(({ summary }) => summary !== '')
      .map(({ name, many, summary }) => [`${italic(name)}${many ? '...' : ''}`, sentence(summary)]),
  );
}

function optionTerms(options: readonly OptionOutline[]): readonly string[] {
  return terms(options.map(({ flags, description }) => [optionText(flags), sentence(description)]));
}

/** `-n, --number <n>` */
function optionText(flags: string): string {
  return flags
    .split(' ')
    .map((word) => {
      if (/^[<[]/.test(word)) return placeholder(word);
      return word.endsWith(',') ? `${bold(word.slice(0, -1))},` : bold(word);
    })
    .join(' ');
}

/** The first letter is large and the end a full stop, whatever a help has. */
function sentence(text: string): string {
  if (text === '') return 'As its name says.';
  const begun = /^[a-z][a-z]*[ ,;:]/.test(text) ? `${text.charAt(0).toUpperCase()}${text.slice(1)}` : text;
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function title(name: string, { version, issued }: PageTerms): string {
  const day = new Date(issued).toISOString().slice(0, 10);
  return `.TH ${roffText(name.toUpperCase())} 1 ${day} "Bootseal ${roffText(version)}" "Bootseal manual"`;
}

function nameSection(name: string, summary: string): readonly string[] {
  return ['.SH NAME', `${roffText(name)} \\- ${roffText(summary)}`];
}

/** @param names of other pages of the house: `serve`, or `''` for the program's own. */
function seeAlso(names: readonly string[]): readonly string[] {
  const pages = names.map((name) => `${bold([HOUSE, name].filter(Boolean).join('-'))}(1)`);
  return [
    ...pages.map((page, at) => (at < pages.length - 1 ? `${page},` : page)),
    '.PP',
    roffText(
      'The documents that come with it, in the folder docs of the package, on Debian and Arch in /usr/share/doc/bootseal, say how and why.',
    ),
  ];
}
