import { Malformed } from '../../errors/malformed.ts';

/** Bytes in lines of base64: OpenPGP's ASCII armor (RFC 9580 §6) and PEM (RFC 7468). */

/** Characters of input that a decoder looks at. A large keyring takes a few MiB. */
const INPUT_LIMIT = 16 * 2 ** 20;
const LINE = 64;
const BEGIN = /^-----BEGIN ([A-Z0-9]+(?: [A-Z0-9]+)*)-----$/;

/** Lines without their ends, LF or CRLF. The last line must have one too: a cut file shows itself. */
function splitLines(format: string, text: string): string[] {
  if (text.length > INPUT_LIMIT) throw new Malformed(format, `longer than ${INPUT_LIMIT} characters`);
  const lines = text.split('\n').map((line) => (line.endsWith('\r') ? line.slice(0, -1) : line));
  if (lines.pop() !== '') throw new Malformed(format, 'last line does not end');
  return lines;
}

/** One spelling only: no stray characters, padding where it belongs, no bits hidden behind the last byte. */
function decodeBase64(format: string, base64: string): Uint8Array {
  const bytes = Buffer.from(base64, 'base64');
  if (bytes.toString('base64') !== base64) throw new Malformed(format, 'not base64');
  return bytes;
}

function encodeLines(bytes: Uint8Array): string {
  const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64');
  return base64.replace(/.{1,64}/g, '$&\n');
}

function demandLabel(label: string): void {
  if (!BEGIN.test(`-----BEGIN ${label}-----`)) throw new RangeError(`not a label: ${label}`);
}

export interface PemBlock {
  /** `CERTIFICATE`, `PRIVATE KEY`. */
  readonly label: string;
  readonly bytes: Uint8Array;
}

export interface PemOptions {
  /**
   * Lets text stand before a block, as `openssl x509 -text` writes it (RFC 7468 §5.2). Off by default:
   * text says one thing to people and nothing to programs.
   */
  readonly explanatoryText?: boolean;
}

/**
 * All blocks of a PEM file, in order, at least one. Strict as RFC 7468 §3 figure 3: full lines of 64
 * characters, no headers, empty lines only between blocks, nothing after the last. Throws `Malformed`.
 */
export function decodePem(text: string, options: PemOptions = {}): PemBlock[] {
  const lines = splitLines('PEM', text);
  const blocks: PemBlock[] = [];
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? '';
    const label = BEGIN.exec(line)?.[1];
    if (label === undefined) {
      // A mistyped boundary must not turn a block into explanatory text.
      const tolerated = options.explanatoryText && !line.includes('-----');
      if (line !== '' && !tolerated) throw new Malformed('PEM', 'text outside a block');
      continue;
    }
    const end = lines.indexOf(`-----END ${label}-----`, at);
    if (end < 0) throw new Malformed('PEM', `${label} without its end`);
    const body = lines.slice(at + 1, end);
    if (body.length === 0) throw new Malformed('PEM', `${label} is empty`);
    for (const [index, row] of body.entries()) {
      const isLast = index === body.length - 1;
      if (isLast ? row.length === 0 || row.length > LINE : row.length !== LINE) {
        throw new Malformed('PEM', `${label} has a line of ${row.length} characters`);
      }
    }
    blocks.push({ label, bytes: decodeBase64('PEM', body.join('')) });
    at = end;
  }
  if (blocks.length === 0) throw new Malformed('PEM', 'no block');
  const last = lines[lines.length - 1];
  if (last?.startsWith('-----END ') !== true) throw new Malformed('PEM', 'text after the last block');
  return blocks;
}

/** One PEM block. Several may simply follow one another. `bytes` must not be empty. */
export function encodePem(label: string, bytes: Uint8Array): string {
  demandLabel(label);
  if (bytes.length === 0) throw new RangeError('nothing to encode');
  return `-----BEGIN ${label}-----\n${encodeLines(bytes)}-----END ${label}-----\n`;
}

export interface Armored {
  /** What is armored, without "PGP": `PUBLIC KEY BLOCK`, `SIGNATURE`. */
  readonly label: string;
  /** `Comment`, `Version` and the like, as written: claims, covered by no signature. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly bytes: Uint8Array;
}

/** RFC 9580 §6.1.1 */
function crc24(bytes: Uint8Array): number {
  let crc = 0xb704ce;
  for (const octet of bytes) {
    crc ^= octet << 16;
    for (let bit = 0; bit < 8; bit++) {
      crc <<= 1;
      if (crc & 0x1000000) crc ^= 0x1864cfb;
    }
  }
  return crc;
}

function crcOctets(bytes: Uint8Array): Uint8Array {
  const crc = crc24(bytes);
  return Uint8Array.of(crc >> 16, (crc >> 8) & 0xff, crc & 0xff);
}

const HEADER_LIMIT = 32;
const ARMOR_LINE_LIMIT = 76;

/**
 * Exactly one armored object, nothing before or after it. A CRC-24 is checked where there is one; RFC 9580
 * made it optional. Cleartext signatures are not armor of this kind. Throws `Malformed`.
 */
export function decodeArmor(text: string): Armored {
  const fail = (fact: string): Malformed => new Malformed('OpenPGP armor', fact);
  const lines = splitLines('OpenPGP armor', text);
  const label = BEGIN.exec(lines[0] ?? '')?.[1];
  if (label === undefined || !label.startsWith('PGP ')) throw fail('does not begin with an armor line');
  if (label === 'PGP SIGNED MESSAGE') throw fail('a cleartext signature');
  if (lines.indexOf(`-----END ${label}-----`) !== lines.length - 1) {
    throw fail(`no end of ${label}, or something after it`);
  }
  const blank = lines.findIndex((line) => /^[ \t]*$/.test(line));
  if (blank < 0) throw fail('no empty line after the headers');
  if (blank - 1 > HEADER_LIMIT) throw fail('too many headers');
  const headers = lines.slice(1, blank).map((line) => {
    const [, name, value] = /^([A-Za-z0-9-]+): ([^\x00-\x1f\x7f]*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) throw fail('header line without name and value');
    return [name, value] as const;
  });
  const body = lines.slice(blank + 1, -1);
  const checksum = body[body.length - 1]?.startsWith('=') ? body.pop() : undefined;
  if (body.some((line) => line.length === 0 || line.length > ARMOR_LINE_LIMIT)) {
    throw fail('empty or overlong line');
  }
  const bytes = decodeBase64('OpenPGP armor', body.join(''));
  if (bytes.length === 0) throw fail('no content');
  if (checksum !== undefined) {
    const octets = decodeBase64('OpenPGP armor', checksum.slice(1));
    if (Buffer.compare(octets, crcOctets(bytes)) !== 0) throw fail('CRC-24 does not match');
  }
  return { label: label.slice(4), headers, bytes };
}

/** Armor with a CRC-24, since gpg 2.2 and older expect one, and no headers. `bytes` must not be empty. */
export function encodeArmor(label: string, bytes: Uint8Array): string {
  demandLabel(label);
  if (bytes.length === 0) throw new RangeError('nothing to encode');
  const crc = Buffer.from(crcOctets(bytes)).toString('base64');
  return `-----BEGIN PGP ${label}-----\n\n${encodeLines(bytes)}=${crc}\n-----END PGP ${label}-----\n`;
}
