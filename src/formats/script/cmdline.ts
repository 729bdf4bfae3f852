import { RELEASE_CHARACTERS } from '../records/safe-path.ts';

/** The kernel command line, as far as Bootseal lets one be written (DESIGN §5). */

/** The kernel cuts at COMMAND_LINE_SIZE, 2048 with the terminating NUL on x86. */
export const MAX_COMMAND_LINE = 2047;

/**
 * Characters of one word. Quotes, `$`, backquotes, `;`, `&`, `|`, `(` and `)` are left out: archiso evaluates
 * `archiso_http_srv` in a shell.
 */
const WORD = /^[A-Za-z0-9._:,=/@%+[\]-]+$/;

export function isCommandLineWord(word: string): boolean {
  return word.length <= MAX_COMMAND_LINE && WORD.test(word);
}

/** Splits at runs of blanks, as the kernel does. Quoting does not exist here. */
export function splitCommandLine(line: string): string[] {
  return line.split(/[ \t\n]+/).filter((word) => word !== '');
}

/** The types a free kernel parameter may have. */
export type FreeType = 'ipv4' | 'mac' | 'dhcp' | 'port' | 'url';

export interface FreeParameter {
  readonly name: string;
  readonly type: FreeType;
}

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const TYPES: Readonly<Record<FreeType, RegExp>> = {
  ipv4: new RegExp(`^${OCTET}(\\.${OCTET}){3}$`),
  // BOOTIF carries the hardware type first: 01- and six bytes with dashes.
  mac: /^(01-)?[0-9a-fA-F]{2}([-:][0-9a-fA-F]{2}){5}$/,
  dhcp: /^dhcp$/,
  port: /^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})$/,
  // None of these means anything to a shell: archiso evaluates the address in one.
  url: new RegExp(`^https?://[:[\\]/${RELEASE_CHARACTERS}]+/$`),
};

export function isFreeType(text: string): text is FreeType {
  return Object.hasOwn(TYPES, text);
}

/** True when `value` is written as its type demands. */
export function isOfType(value: string, type: FreeType): boolean {
  return TYPES[type].test(value);
}

/**
 * Fixed words with those that a loader adds. They come last, but before `---`: an installer copies what stands behind
 * that into the boot loader of what it installs, for good (debian-installer, "Passing parameters to the kernel").
 *
 * @param written how the fixed words are spelled in a script, one for each; default: as they are.
 */
export function withAdded(
  fixed: readonly string[],
  added: readonly string[],
  written: readonly string[] = fixed,
): string[] {
  const mark = fixed.indexOf('---');
  const end = mark < 0 ? fixed.length : mark;
  return [...written.slice(0, end), ...added, ...written.slice(end)];
}

/** Value of the last `key=…`; a bare `key` means `y`, as archiso reads it. Undefined where it is absent. */
export function lastValue(words: readonly string[], key: string): string | undefined {
  const word = words.findLast((candidate) => candidate === key || candidate.startsWith(`${key}=`));
  return word === undefined ? undefined : word === key ? 'y' : word.slice(key.length + 1);
}
