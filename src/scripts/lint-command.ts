import { isSettingType, PREDEFINED_SETTINGS } from '../formats/script/ipxe-settings.ts';
import { type Expansion, expansions } from '../formats/script/ipxe-tokens.ts';

/**
 * The iPXE commands a boot script may use, and how each reads its words. Sources: iPXE `src/hci/commands/`,
 * `src/core/getopt.c`, `src/core/parseopt.c`, as of 2026-08. What is not in this table is refused.
 */

interface CommandForm {
  /** Long options; true where one takes an argument. */
  readonly options: Readonly<Record<string, boolean>>;
  /** What the command does to images, as far as safety is concerned. */
  readonly does:
    | 'fetch'
    | 'select'
    | 'execute'
    | 'verify'
    | 'trust'
    | 'free'
    | 'goto'
    | 'exit'
    | 'restart'
    | 'show'
    | 'ask'
    | 'set'
    | 'other';
}

const IMAGE = { name: true, timeout: true, quiet: false, autofree: false };
const FETCH: CommandForm = { options: IMAGE, does: 'fetch' };
const SELECT: CommandForm = { options: IMAGE, does: 'select' };
const EXECUTE: CommandForm = { options: { ...IMAGE, replace: false }, does: 'execute' };
const RESTART: CommandForm = { options: { warm: false }, does: 'restart' };
const DHCP: CommandForm = { options: { configurator: true, timeout: true }, does: 'other' };

export const COMMANDS: ReadonlyMap<string, CommandForm> = new Map(
  Object.entries<CommandForm>({
    imgfetch: FETCH,
    module: FETCH,
    initrd: FETCH,
    kernel: SELECT,
    imgselect: SELECT,
    imgload: SELECT,
    imgexec: EXECUTE,
    chain: EXECUTE,
    boot: EXECUTE,
    imgverify: { options: { signer: true, keep: false, timeout: true, quiet: false }, does: 'verify' },
    imgtrust: { options: { allow: false, permanent: false }, does: 'trust' },
    imgfree: { options: {}, does: 'free' },
    imgstat: { options: {}, does: 'show' },
    echo: { options: { n: false }, does: 'show' },
    ifstat: { options: {}, does: 'show' },
    route: { options: {}, does: 'show' },
    goto: { options: {}, does: 'goto' },
    exit: { options: {}, does: 'exit' },
    reboot: RESTART,
    poweroff: { options: {}, does: 'restart' },
    isset: { options: {}, does: 'ask' },
    iseq: { options: {}, does: 'ask' },
    set: { options: {}, does: 'set' },
    clear: { options: {}, does: 'set' },
    inc: { options: {}, does: 'set' },
    sleep: { options: {}, does: 'other' },
    ntp: { options: {}, does: 'other' },
    dhcp: DHCP,
    ifconf: DHCP,
    ifopen: { options: {}, does: 'other' },
    ifclose: { options: {}, does: 'other' },
    iflinkwait: { options: { timeout: true }, does: 'other' },
  }),
);

/** Commands that put a person in front of the machine in the script's place. */
export const INTERACTIVE: ReadonlySet<string> = new Set([
  'shell',
  'config',
  'login',
  'prompt',
  'menu',
  'item',
  'choose',
  'form',
  'present',
  'read',
]);

/** One command with its options told from its operands. */
export interface ReadCommand {
  readonly name: string;
  readonly does: CommandForm['does'];
  /** `true` for an option without an argument. */
  readonly options: ReadonlyMap<string, string | true>;
  readonly operands: readonly string[];
  /** Why the options could not be read; iPXE would refuse them too, or they are not written out in full. */
  readonly fault?: string;
}

/** Undefined for an empty command and for one that is not in the table. */
export function readCommand(words: readonly string[]): ReadCommand | undefined {
  const [name, ...rest] = words;
  const form = name === undefined ? undefined : COMMANDS.get(name);
  if (name === undefined || form === undefined) return undefined;
  const options = new Map<string, string | true>();
  const at = (operands: readonly string[], fault?: string): ReadCommand =>
    fault === undefined
      ? { name, does: form.does, options, operands }
      : { name, does: form.does, options, operands, fault };
  let index = 0;
  // What echo prints may begin with anything.
  if (form.does === 'show') return at(rest);
  for (; index < rest.length; index += 1) {
    const word = rest[index] ?? '';
    if (!word.startsWith('-')) break;
    if (!word.startsWith('--')) return at(rest.slice(index), `${word}: write options in full`);
    const [option = '', inline] = splitOption(word.slice(2));
    const takes = Object.hasOwn(form.options, option) ? form.options[option] : undefined;
    if (takes === undefined) return at(rest.slice(index), `${name} has no option --${option}`);
    if (options.has(option)) return at(rest.slice(index), `--${option} is given twice`);
    if (!takes) {
      if (inline !== undefined) return at(rest.slice(index), `--${option} takes no argument`);
      options.set(option, true);
      continue;
    }
    if (inline === undefined) index += 1;
    const argument = inline ?? rest[index] ?? '';
    // iPXE takes no option for an argument; an empty one names nothing.
    if (argument === '' || argument.startsWith('-'))
      return at(rest.slice(index), `--${option} needs an argument`);
    options.set(option, argument);
  }
  return at(rest.slice(index));
}

function splitOption(text: string): readonly [string, string | undefined] {
  const equals = text.indexOf('=');
  return equals < 0 ? [text, undefined] : [text.slice(0, equals), text.slice(equals + 1)];
}

/** Most that an `unsigned int` of iPXE holds; of anything larger it takes the lower 32 bits. */
const MOST_UNSIGNED = 2 ** 32 - 1;
/** An exit status is an `int` in the end. */
const MOST_STATUS = 2 ** 31 - 1;
/** Milliseconds: `parse_timeout` multiplies by 1024 in 32 bits, so one more is 0, which waits for ever. */
const MOST_TIMEOUT = 2 ** 22 - 1;
/** What a typed setting holds; of anything larger it takes the lower bits. */
const MOST_OF_TYPE: ReadonlyMap<string, number> = new Map(
  [8, 16, 32].flatMap((bits) => [
    [`int${bits}`, 2 ** (bits - 1) - 1] as const,
    [`uint${bits}`, 2 ** bits - 1] as const,
  ]),
);

/** Whether a word is a number that iPXE reads as a person does: a leading zero would make it octal. */
function isPlainNumber(word: string, most: number): boolean {
  return /^(0|[1-9][0-9]{0,15})$/.test(word) && Number(word) <= most;
}

/**
 * Why a command's numbers are not what they look like, one sentence each. iPXE reads them with `strtoul`, which knows no
 * overflow: `exit 4294967296` is `exit 0`, and says to whoever ran the script that it has succeeded.
 */
export function numberFaults({ name, does, options, operands }: ReadCommand): string[] {
  const plain = (what: string, word: string | true | undefined, most: number): string[] =>
    word === undefined || (word !== true && isPlainNumber(word, most))
      ? []
      : [`${what} ${word} is no plain number of at most ${most}`];
  const faults = plain(`${name} --timeout`, options.get('timeout'), MOST_TIMEOUT);
  const [first, second] = operands;
  if (does === 'exit') faults.push(...plain(name, first, MOST_STATUS));
  if (name === 'sleep') faults.push(...plain(name, first, MOST_UNSIGNED));
  if (name === 'inc') faults.push(...plain(name, second, MOST_UNSIGNED));
  const most = MOST_OF_TYPE.get(/:([a-z0-9]+)$/.exec(first ?? '')?.[1] ?? '');
  // A setting that is copied is of its own type, and only decides where to fetch or what to print.
  if (name === 'set' && most !== undefined && second !== undefined && !second.includes('${'))
    faults.push(...plain(`set ${first}`, operands.slice(1).join(' '), most));
  return faults;
}

/** Whether an `exit` ends the script for certain, and as a failure. With a second word iPXE would not end it at all. */
export function exitsAsFailure(words: readonly string[]): boolean {
  const [name, status = '0', ...more] = words;
  return name === 'exit' && more.length === 0 && isPlainNumber(status, MOST_STATUS) && status !== '0';
}

/** Whether an address names its port as it is: iPXE reads it as any number, and TCP takes the lower 16 bits. */
export function hasPlainPort(url: string): boolean {
  const [, port] = /^[a-z]+:\/\/(?:\[[^\]]*\]|[^/:[]*):([^/]*)/.exec(url) ?? [];
  return port === undefined || port.includes('${') || (isPlainNumber(port, 65535) && port !== '0');
}

/**
 * Types whose text is digits, hex digits, dots, colons and dashes, whatever bytes a DHCP server sends, and how
 * many bytes that text can have (iPXE `src/core/settings.c`: numbers are at most 64 bits wide, or nothing).
 */
const TYPED: ReadonlyMap<string, number> = new Map([
  ['ipv4', 15],
  ['ipv6', 39],
  ...['int8', 'int16', 'int32'].map((type) => [type, 20] as const),
  ...['uint8', 'uint16', 'uint32'].map((type) => [type, 18] as const),
  ...['hex', 'hexhyp', 'hexraw'].map((type) => [type, Number.POSITIVE_INFINITY] as const),
  ['uuid', 36],
  ['guid', 36],
  ['busdevfn', 12],
]);

/** What a network card answers for itself, whatever DHCP says: 20 bytes at most (`MAX_LL_ADDR_LEN`). */
const CARD_FACTS: ReadonlySet<string> = new Set(['mac', 'hwaddr', 'busid']);
const CARD = /^net(X|[0-9]+)$/;
const LONGEST_CARD_FACT = 'ff-'.repeat(20).length - 1;

/** Strings that are built into the loader, and name no more than a platform. */
const FACTS: ReadonlySet<string> = new Set(['buildarch', 'platform']);
const LONGEST_FACT = 16;

/**
 * Why this setting may not stand in a URL or on a kernel command line; undefined where it may. Only typed
 * settings and machine facts may: expansion is recursive and escapes nothing, so a string that DHCP sends
 * would be part of a signed script.
 */
export function settingFault(expansion: Expansion): string | undefined {
  const { text, name, type, dynamic } = expansion;
  if (dynamic) return `${text} names a setting by another setting's value`;
  if (type !== undefined) {
    if (!isSettingType(type)) return `${text} has no type iPXE knows`;
    return TYPED.has(type) ? undefined : `${text} can hold any text`;
  }
  if (FACTS.has(name)) return undefined;
  const known = PREDEFINED_SETTINGS.get(name);
  return known !== undefined && TYPED.has(known.type) ? undefined : `${text} can hold any text`;
}

/**
 * Why this setting may not stand in the query of an address that is fetched; undefined where it may. Beside what may stand
 * anywhere: names out of the machine's own SMBIOS, escaped for an address, and the time. A query asks; what comes is verified.
 */
export function queryFault(expansion: Expansion): string | undefined {
  const { name, type, dynamic, scope } = expansion;
  const known = PREDEFINED_SETTINGS.get(name);
  const own = known?.from === 'smbios' && (scope === undefined || scope === 'smbios');
  if (!dynamic && own && type === 'uristring') return undefined;
  if (!dynamic && name === 'unixtime' && type === undefined) return undefined;
  return settingFault(expansion);
}

/** An address and its query, which begins with the question mark; empty where it has none. */
export function withoutQuery(url: string): readonly [string, string] {
  const mark = url.indexOf('?');
  return mark < 0 ? [url, ''] : [url.slice(0, mark), url.slice(mark)];
}

/** Bytes that a setting without a fault can become at most; infinite where DHCP decides how many there are. */
export function longestSetting({
  scope,
  name,
  type = PREDEFINED_SETTINGS.get(name)?.type,
}: Expansion): number {
  if (type === undefined || !TYPED.has(type))
    return FACTS.has(name) ? LONGEST_FACT : Number.POSITIVE_INFINITY;
  const longest = TYPED.get(type) ?? Number.POSITIVE_INFINITY;
  // Without a scope, or with DHCP's, another block could answer to the card's name.
  const card = scope !== undefined && CARD.test(scope) && CARD_FACTS.has(name);
  return card ? Math.min(longest, LONGEST_CARD_FACT) : longest;
}

/**
 * Bytes of the command line that a kernel can see at most. A UEFI iPXE puts the image's name first (iPXE
 * `src/image/efi_image.c`); it adds nothing else.
 */
export function longestCommandLine(image: string, words: readonly string[]): number {
  const line = [image, ...words].join(' ');
  return expansions(line).reduce(
    (length, expansion) => length - expansion.text.length + longestSetting(expansion),
    line.length,
  );
}

/** The word with every setting replaced by a digit, to see what the rest is made of. */
export function withoutExpansions(word: string): string {
  return expansions(word).reduce((text, { text: setting }) => text.replace(setting, '1'), word);
}

/** The name iPXE gives a fetched image: `--name`, else the last part of the address. Undefined if unsure. */
export function imageNameOf(command: ReadCommand): string | undefined {
  const given = command.options.get('name');
  const address = command.operands[0] ?? '';
  const name = typeof given === 'string' ? given : address.slice(address.lastIndexOf('/') + 1);
  // A name with %, ? or # would be read as part of a URI; a setting in it makes it anybody's name.
  return /^[A-Za-z0-9._+@,=~-]+$/.test(name) ? name : undefined;
}
