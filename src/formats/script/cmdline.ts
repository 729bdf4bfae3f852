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

/** The types a free kernel parameter may have, as its line in a manifest writes them. */
export type FreeType = keyof typeof TYPES | `hex ${number}` | `choice ${string}`;

export interface FreeParameter {
  readonly name: string;
  readonly type: FreeType;
}

const OCTET = '(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])';
const TYPES = {
  ipv4: new RegExp(`^${OCTET}(\\.${OCTET}){3}$`),
  // BOOTIF carries the hardware type first: 01- and six bytes with dashes.
  mac: /^(01-)?[0-9a-fA-F]{2}([-:][0-9a-fA-F]{2}){5}$/,
  dhcp: /^dhcp$/,
  port: /^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})$/,
  // None of these means anything to a shell: archiso evaluates the address in one.
  url: new RegExp(`^https?://[:[\\]/${RELEASE_CHARACTERS}]+/$`),
  name: /^[A-Za-z0-9-]{1,63}$/,
} as const;

/** How an operator is told which types there are. */
export const FREE_TYPES = 'ipv4, mac, dhcp, port, url, name, hex N or choice A|B';

/** Digits that a machine's number may have at most: those of a SHA-256. */
const MOST_DIGITS = 64;
/** Bytes of a list of choices. */
const LONGEST_CHOICE = 1024;

/** True for the one spelling of a type: `port`, `hex 32`, `choice red|green`. */
export function isFreeType(text: string): text is FreeType {
  if (Object.hasOwn(TYPES, text)) return true;
  const [, digits] = /^hex ([1-9][0-9]?)$/.exec(text) ?? [];
  if (digits !== undefined) return Number(digits) <= MOST_DIGITS;
  const choices = choicesOf(text);
  if (choices === undefined || text.length > 'choice '.length + LONGEST_CHOICE) return false;
  return choices.every(isCommandLineWord) && new Set(choices).size === choices.length;
}

/** What `choice A|B` names; undefined for any other type. */
export function choicesOf(type: string): readonly string[] | undefined {
  return type.startsWith('choice ') ? type.slice('choice '.length).split('|') : undefined;
}

/** True when `value` is written as its type demands. */
export function isOfType(value: string, type: FreeType): boolean {
  if (Object.hasOwn(TYPES, type)) return TYPES[type as keyof typeof TYPES].test(value);
  const choices = choicesOf(type);
  if (choices) return choices.includes(value);
  return /^[0-9a-fA-F]+$/.test(value) && value.length === Number(type.slice('hex '.length));
}

/** True for the number of a VLAN (IEEE 802.1Q), written in one way: what `vlan=` of an overlay's early userspace may be. */
export function isVlan(text: string): boolean {
  return /^[1-9][0-9]{0,3}$/.test(text) && Number(text) <= 4094;
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
