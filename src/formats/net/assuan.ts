import { Malformed } from '../../errors/malformed.ts';

/**
 * Lines of Assuan, the protocol of gpg-agent and its sisters (libassuan's manual, "Client responses" and "Server
 * responses"), as a client sends and reads them.
 */

/** Bytes of a line, its end not counted; what is longer breaks the protocol. */
const LINE = 1000;
const FORMAT = 'Assuan';
const LF = 0x0a;
const PERCENT = 0x25;

export type AssuanLine =
  | { readonly kind: 'ok' }
  /** `code` holds the source of the error in its upper bits; what it means its lower 16 say. */
  | { readonly kind: 'error'; readonly code: number; readonly said: Uint8Array }
  | { readonly kind: 'data'; readonly octets: Uint8Array }
  | { readonly kind: 'inquiry'; readonly keyword: string }
  /** A status or a comment, which asks for nothing. */
  | { readonly kind: 'note' };

/** Puts lines together from whatever pieces they arrive in. */
export class AssuanReader {
  #rest: Buffer = Buffer.alloc(0);

  /** Whether a line has begun that has not ended. */
  get isInside(): boolean {
    return this.#rest.length > 0;
  }

  /** The lines that end in this piece. Throws `Malformed`, also for one that is too long and has no end yet. */
  read(piece: Uint8Array): AssuanLine[] {
    let rest = Buffer.concat([this.#rest, piece]);
    const lines: AssuanLine[] = [];
    for (let end = rest.indexOf(LF); end >= 0; end = rest.indexOf(LF)) {
      lines.push(decodeLine(rest.subarray(0, end)));
      rest = rest.subarray(end + 1);
    }
    demandShort(rest);
    this.#rest = rest;
    return lines;
  }
}

function demandShort(line: Uint8Array): void {
  if (line.length > LINE) throw new Malformed(FORMAT, `a line of more than ${LINE} bytes`);
}

function decodeLine(line: Buffer): AssuanLine {
  demandShort(line);
  const space = line.indexOf(0x20);
  const verb = line.toString('latin1', 0, space < 0 ? line.length : space);
  const rest = space < 0 ? Buffer.alloc(0) : line.subarray(space + 1);
  if (verb === 'OK') return { kind: 'ok' };
  // Of data only %, CR and LF are escaped: a signature has its NULs as they are.
  if (verb === 'D') return { kind: 'data', octets: unescaped(rest) };
  if (line.includes(0)) throw new Malformed(FORMAT, 'a line with a NUL');
  if (verb === 'S' || verb.startsWith('#')) return { kind: 'note' };
  if (verb === 'INQUIRE') return { kind: 'inquiry', keyword: rest.toString('latin1').split(' ')[0] ?? '' };
  const [, code, said] = /^([0-9]{1,10})(?: (.*))?$/s.exec(rest.toString('latin1')) ?? [];
  if (verb !== 'ERR' || code === undefined) throw new Malformed(FORMAT, 'a line that is no answer');
  return { kind: 'error', code: Number(code), said: Buffer.from(said ?? '', 'latin1') };
}

/** `%0A` and the like. */
function unescaped(octets: Buffer): Uint8Array {
  const found: number[] = [];
  for (let at = 0; at < octets.length; at++) {
    const octet = octets[at] ?? 0;
    if (octet !== PERCENT) {
      found.push(octet);
      continue;
    }
    const hex = octets.toString('latin1', at + 1, at + 3);
    if (!/^[0-9A-Fa-f]{2}$/.test(hex)) throw new Malformed(FORMAT, 'an escape without its two digits');
    found.push(Number.parseInt(hex, 16));
    at += 2;
  }
  return Uint8Array.from(found);
}

/** One command. What it is made of holds no line ends; a text goes through `escapedText` before. */
export function encodeCommand(...words: readonly string[]): Uint8Array {
  const line = words.join(' ');
  if (/[^\x20-\x7e]/.test(line) || line.length > LINE) throw new RangeError('no line of Assuan');
  return Buffer.from(`${line}\n`);
}

/** A text for people as an argument: spaces as `+`, everything else that could be misread escaped. */
export function escapedText(text: string): string {
  return [...Buffer.from(text)]
    .map((octet) => {
      const character = String.fromCharCode(octet);
      if (character === ' ') return '+';
      if (/[A-Za-z0-9.,:_/-]/.test(character)) return character;
      return `%${octet.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

/** Bytes of a file that stands where a socket is expected; libassuan reads no more. */
export const REDIRECTION_LIMIT = 511;

/**
 * The socket that such a file names instead (libassuan, `assuan-socket.c`: "%Assuan%", then "socket=" and a path in
 * which `${NAME}` stands for a variable of the environment).
 *
 * @throws Malformed
 */
export function decodeRedirection(bytes: Uint8Array, variable: (name: string) => string | undefined): string {
  const text = Buffer.from(bytes).toString('utf8');
  const [, path] = /^%Assuan%\r?\nsocket=([^\0\r\n]+)\r?\n?$/.exec(text) ?? [];
  if (bytes.length > REDIRECTION_LIMIT || path === undefined) {
    throw new Malformed(FORMAT, 'neither a socket nor a file that names one');
  }
  const named = path.replaceAll(/\$\{([A-Za-z0-9_]+)\}/g, (_, name: string) => variable(name) ?? '');
  if (!named.startsWith('/')) throw new Malformed(FORMAT, 'a redirection to no absolute path');
  return named;
}
