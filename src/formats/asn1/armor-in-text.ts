import { Malformed } from '../../errors/malformed.ts';
import { type Armored, decodeArmor, decodePem, type PemBlock } from './armor.ts';

/**
 * Armor and PEM as people keep them: text before, between and behind the blocks, as `openssl x509 -text`, a mail or a
 * web page leaves it, lines of another length, spaces at their ends, no end of line at the end. gpg and openssl read
 * all of it. The blocks themselves are read as strictly as those that Bootseal writes.
 */

const LINE = 64;
const BEGIN = /^-----BEGIN ([A-Z0-9]+(?: [A-Z0-9]+)*)-----$/;

interface Block {
  readonly label: string;
  readonly lines: readonly string[];
}

/** Whether a file is text, by its first byte: those of an OpenPGP packet have their top bit set. */
export function isArmored(bytes: Uint8Array): boolean {
  return ((bytes[0] ?? 0x80) & 0x80) === 0;
}

/** What the boundaries in a text say is in it: `CERTIFICATE`, `PGP PUBLIC KEY BLOCK`. Never throws. */
export function pemLabels(bytes: Uint8Array): string[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  return [...text.matchAll(/^(?:\u00ef\u00bb\u00bf)?-----BEGIN ([A-Z0-9]+(?: [A-Z0-9]+)*)-----\s*$/gm)].map(
    ([, label = '']) => label,
  );
}

/** Every OpenPGP block of a text, in order, at least one; headers are left out. Throws `Malformed`. */
export function readArmored(bytes: Uint8Array): Armored[] {
  const found = blocks('OpenPGP armor', bytes).filter(({ label }) => label.startsWith('PGP '));
  if (found.length === 0) throw new Malformed('OpenPGP armor', 'no block in it');
  return found.map(({ label, lines }) => {
    const blank = lines.indexOf('');
    if (blank < 0) throw new Malformed('OpenPGP armor', 'no empty line after the headers');
    const body = lines.slice(blank + 1).filter((line) => line !== '');
    const checksum = body.at(-1)?.startsWith('=') ? body.splice(-1) : [];
    const rows = [`-----BEGIN ${label}-----`, '', ...folded(body), ...checksum, `-----END ${label}-----`, ''];
    return decodeArmor(rows.join('\n'));
  });
}

/** Every PEM block of a text, in order, at least one. Throws `Malformed`. */
export function readPem(bytes: Uint8Array): PemBlock[] {
  const found = blocks('PEM', bytes);
  if (found.length === 0) throw new Malformed('PEM', 'no block');
  return found.flatMap(({ label, lines }) =>
    decodePem([`-----BEGIN ${label}-----`, ...folded(lines), `-----END ${label}-----`, ''].join('\n')),
  );
}

function blocks(format: string, bytes: Uint8Array): Block[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  // What editors of another system put in front (a byte order mark in UTF-8) is no part of the first line.
  const lines = text
    .replace(/^\u00ef\u00bb\u00bf/, '')
    .split('\n')
    .map((line) => line.trimEnd());
  const found: Block[] = [];
  for (let at = 0; at < lines.length; at++) {
    const label = BEGIN.exec(lines[at] ?? '')?.[1];
    // A cleartext signature's text ends where its signature begins.
    if (label === undefined || label === 'PGP SIGNED MESSAGE') continue;
    const end = lines.indexOf(`-----END ${label}-----`, at);
    if (end < 0) throw new Malformed(format, `${label} without its end`);
    found.push({ label, lines: lines.slice(at + 1, end) });
    at = end;
  }
  return found;
}

/** Lines of the length that strict readers want. */
function folded(lines: readonly string[]): string[] {
  return lines.join('').match(new RegExp(`.{1,${LINE}}`, 'g')) ?? [];
}
