import { Malformed } from '../../errors/malformed.ts';
import { type Command, splitCommands } from './ipxe-tokens.ts';

/**
 * iPXE script, bytes ⇄ lines. Source: iPXE `src/image/script.c` as of 2026-08.
 *
 * Text is one character per byte (Latin-1), since iPXE knows no encoding: nothing is lost or gained, and
 * `encodeIpxeScript` gives the same bytes back.
 */

/** Bytes. iPXE sets no limit; no honest script comes near this one. */
export const MAX_SCRIPT_BYTES = 65536;

/** One line as iPXE executes it: physical lines joined by a trailing `\` are one. */
export interface ScriptLine {
  /** Of its first physical line, from 1. */
  readonly number: number;
  /** Bytes from the start of the script to the line's first byte. */
  readonly offset: number;
  /** The whole line, continuations joined, without line ends. */
  readonly raw: string;
  /** `:name` at the start of the line, without the colon. A command may follow on the same line, and runs. */
  readonly label: string | undefined;
  /** What follows the label. */
  readonly text: string;
  readonly commands: readonly Command[];
  /** From the `#` on. */
  readonly comment: string | undefined;
}

export interface IpxeScript {
  readonly magic: '#!ipxe' | '#!gpxe';
  readonly lines: readonly ScriptLine[];
  /**
   * True when the last line ends in a `\` with nothing behind it. iPXE drops that line and ends the script
   * with "Invalid argument".
   */
  readonly truncated: boolean;
}

const SPACES = new Set([' ', '\f', '\n', '\r', '\t', '\v']);

/** Whether iPXE takes these bytes for a script: the magic, then one white space. */
export function isIpxeScript(bytes: Uint8Array): boolean {
  const start = Buffer.from(bytes.subarray(0, 7)).toString('latin1');
  return (start.startsWith('#!ipxe') || start.startsWith('#!gpxe')) && SPACES.has(start.charAt(6));
}

/**
 * Reads a script. Throws `Malformed`: longer than 64 KiB, no magic, or a NUL, behind which iPXE would not
 * see the rest of a line that every other reader shows.
 */
export function parseIpxeScript(bytes: Uint8Array): IpxeScript {
  if (bytes.length > MAX_SCRIPT_BYTES) {
    throw new Malformed('iPXE script', `${bytes.length} bytes, more than ${MAX_SCRIPT_BYTES}`);
  }
  if (!isIpxeScript(bytes)) throw new Malformed('iPXE script', 'does not begin with #!ipxe', 0);
  const nul = bytes.indexOf(0);
  if (nul >= 0) throw new Malformed('iPXE script', 'a NUL hides the rest of its line', nul);

  const text = Buffer.from(bytes).toString('latin1');
  // Whoever verifies a script asks several things about it, one after another.
  if (last?.text !== text) last = { text, script: linesOf(text) };
  return last.script;
}

/** What was read last, by its whole text. */
let last: { readonly text: string; readonly script: IpxeScript } | undefined;

function linesOf(text: string): IpxeScript {
  const physical = text.split('\n');
  // A last line end closes a line; it does not begin another.
  if (physical.at(-1) === '') physical.pop();

  const lines: ScriptLine[] = [];
  let offset = 0;
  let pending: { number: number; offset: number; raw: string } | undefined;
  for (const [index, fragment] of physical.entries()) {
    const current = pending ?? { number: index + 1, offset, raw: '' };
    pending = undefined;
    offset += fragment.length + 1;
    // iPXE strips one CR of the joined line, then looks for the backslash.
    let raw = current.raw + fragment;
    if (raw.endsWith('\r')) raw = raw.slice(0, -1);
    if (raw.endsWith('\\')) pending = { ...current, raw: raw.slice(0, -1) };
    else lines.push(parseLine(current.number, current.offset, raw));
  }
  return {
    magic: text.startsWith('#!ipxe') ? '#!ipxe' : '#!gpxe',
    lines,
    truncated: pending !== undefined,
  };
}

/**
 * Writes lines as bytes, the inverse of `parseIpxeScript` for scripts without continuations: each line's
 * `raw` and a line feed. Throws `Malformed` when a line could not be read back as itself.
 */
export function encodeIpxeScript(lines: readonly Pick<ScriptLine, 'raw'>[]): Uint8Array {
  for (const { raw } of lines) {
    if (/[\n\0]|[^\0-\xff]|[\r\\]$/.test(raw))
      throw new Malformed('iPXE script', 'a line that cannot be written');
  }
  return new Uint8Array(Buffer.from(lines.map(({ raw }) => `${raw}\n`).join(''), 'latin1'));
}

function parseLine(number: number, offset: number, raw: string): ScriptLine {
  let at = 0;
  while (SPACES.has(raw.charAt(at))) at += 1;
  let label: string | undefined;
  let text = raw.slice(at);
  if (text.startsWith(':')) {
    let end = 1;
    while (end < text.length && !SPACES.has(text.charAt(end))) end += 1;
    label = text.slice(1, end);
    text = text.slice(end + 1);
  }
  return { number, offset, raw, label, text, ...splitCommands(text) };
}
