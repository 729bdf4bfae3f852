import { Refusal } from '../errors/refusal.ts';
import { readPackageFile } from '../files/package-file.ts';
import { isReleaseId, isSafePath, isSafeSegment, RELEASE_CHARACTERS } from '../formats/records/safe-path.ts';
import { isCommandLineWord, isOfType, splitCommandLine } from '../formats/script/cmdline.ts';

/**
 * Script templates: text with `{{name}}` and nothing else. No conditions, no loops, no escapes: what a
 * template can become is seen by reading it.
 */

/**
 * What a value may be made of. A value becomes part of a script that machines trust, so each kind names the
 * few characters it needs; none has room for a line feed, a blank (but `command-line`), a quote, a backtick,
 * or a `$` that does not begin one of `SCRIPT_SETTINGS`.
 */
export type ValueKind =
  | 'image'
  | 'path'
  | 'release'
  | 'signer'
  | 'hex'
  | 'host'
  | 'port'
  | 'base'
  | 'mac'
  | 'uuid'
  | 'label'
  | 'command-line';

/** One value to fill in. Lines rendered from a fragment are a value too, and only `renderFragment` makes them. */
export type Value = { readonly kind: ValueKind; readonly text: string } | Fragment;

/** The settings that a rendered script may expand: typed by iPXE, so their values are digits, dots and dashes. */
export const SCRIPT_SETTINGS = {
  server: setting('next-server'),
  /** Signed, since iPXE writes its unsigned types in hexadecimal: `http://10.0.2.2:0x1f90/` is nothing to curl. */
  port: setting('bootseal-port:int32'),
  mac: setting('netX/mac:hexhyp'),
} as const;

function setting(name: string): string {
  return `\${${name}}`;
}

const KINDS: Readonly<Record<ValueKind, (text: string) => boolean>> = {
  image: isImageName,
  path: isSafePath,
  release: isReleaseId,
  signer: (text) => /^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$/.test(text),
  hex: (text) => /^[0-9a-f]{1,128}$/.test(text),
  host: (text) => /^[A-Za-z0-9][A-Za-z0-9.-]{0,252}$/.test(text),
  port: (text) => isOfType(text, 'port'),
  base: isBase,
  mac: (text) => /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(text),
  uuid: (text) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(text),
  label: isLabel,
  'command-line': (text) => {
    const words = splitCommandLine(text);
    return words.join(' ') === text && words.every((word) => isCommandLineWord(withoutSettings(word)));
  },
};

/** A safe segment that is also a command line word: the name follows `initrd=`. */
export function isImageName(text: string): boolean {
  return isSafeSegment(text) && isCommandLineWord(text);
}

/** Characters of a line in a menu: its box leaves so many of the 80 columns of a screen or a serial console. */
export const MAX_LABEL = 60;

/** What a menu shows: single blanks, and nothing that iPXE or GRUB would take for more than text. */
export function isLabel(text: string): boolean {
  return (
    text.length <= MAX_LABEL && /^[A-Za-z0-9][A-Za-z0-9._:,()+/@=-]*( [A-Za-z0-9._:,()+/@=-]+)*$/.test(text)
  );
}

/** Lines made by `renderFragment`. The private field keeps any other object from passing for one. */
export class Fragment {
  readonly #text: string;
  constructor(key: symbol, text: string) {
    if (key !== KEY) throw new TypeError('Fragments come from renderFragment.');
    this.#text = text;
  }
  static textOf(fragment: Fragment): string {
    return fragment.#text;
  }
}
const KEY = Symbol('fragment');

const BASE = new RegExp(
  `^(?:https?|tftp)://(\\[[0-9A-Fa-f:]+\\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[${RELEASE_CHARACTERS}]+)*$`,
);

/** An address without a slash at its end: literal, or with `${next-server}` as its host. TFTP brings scripts, too. */
function isBase(text: string): boolean {
  return BASE.test(withoutSettings(text));
}

/** With each known setting replaced by a harmless value of its form, as long as it can become. */
export function withoutSettings(text: string): string {
  return text
    .replaceAll(SCRIPT_SETTINGS.server, '255.255.255.255')
    .replaceAll(SCRIPT_SETTINGS.port, '65535')
    .replaceAll(SCRIPT_SETTINGS.mac, 'ff-ff-ff-ff-ff-ff');
}

/**
 * Fills a template. Throws a `Refusal` (`unsafe-script`) for a placeholder without a value, a value without
 * a placeholder, a value that its kind does not allow, and a result that is not plain lines of ASCII.
 */
export function renderTemplate(
  name: string,
  template: string,
  values: Readonly<Record<string, Value>>,
): string {
  const used = new Set<string>();
  const text = template.replace(/\{\{(.*?)\}\}/g, (_, placeholder: string) => {
    const value = Object.hasOwn(values, placeholder) ? values[placeholder] : undefined;
    if (value === undefined) throw unsafe(name, `nothing fills {{${placeholder}}}`);
    used.add(placeholder);
    return valueText(name, placeholder, value);
  });
  const unknown = Object.keys(values).find((key) => !used.has(key));
  if (unknown !== undefined) throw unsafe(name, `it has no {{${unknown}}}`);
  if (/\{\{|\}\}/.test(text)) throw unsafe(name, 'it holds a broken placeholder');
  if (!/^[\x20-\x7e\n]*\n$/.test(text)) throw unsafe(name, 'it is not lines of printable ASCII');
  // A backslash would join the next line to this one, out of a comment or into one.
  if (text.includes('\\\n')) throw unsafe(name, 'a line of it ends in a backslash');
  return text;
}

/** Fills a template that is part of another; the header comment, which ends at the first blank line, stays behind. */
export function renderFragment(
  name: string,
  template: string,
  values: Readonly<Record<string, Value>>,
): Fragment {
  const body = template.slice(template.indexOf('\n\n') + 2);
  return new Fragment(KEY, renderTemplate(name, body, values));
}

/** Several fragments in their order; none at all is no line. */
export function joinFragments(fragments: readonly Fragment[]): Fragment {
  return new Fragment(KEY, fragments.map(Fragment.textOf).join(''));
}

function valueText(template: string, placeholder: string, value: Value): string {
  // The template ends the fragment's last line.
  if (value instanceof Fragment) return Fragment.textOf(value).replace(/\n$/, '');
  if (!Object.hasOwn(KINDS, value.kind) || !KINDS[value.kind](value.text)) {
    throw unsafe(template, `${JSON.stringify(value.text)} is not fit for {{${placeholder}}} (${value.kind})`);
  }
  return value.text;
}

/** By name: a batch fills the same few a thousand times. */
const read = new Map<string, string>();

/** Reads a template from the package's `ipxe-scripts`, once. Throws an `IoError`. */
export function readTemplate(name: string): string {
  const text = read.get(name) ?? readPackageFile('ipxe-scripts', name).toString();
  read.set(name, text);
  return text;
}

function unsafe(name: string, fact: string): Refusal {
  return new Refusal('unsafe-script', `The script template ${name} cannot be filled: ${fact}.`, {
    template: name,
  });
}
