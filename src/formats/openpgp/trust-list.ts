import { Malformed } from '../../errors/malformed.ts';

/**
 * The two lists beside an archlinux-keyring: `NAME-trusted`, as `gpg --export-ownertrust` writes it, and
 * `NAME-revoked`, one fingerprint a line. Empty lines and lines that begin with `#` say nothing.
 */

/** GnuPG's ownertrust: 3 never, 4 marginal, 5 full, 6 ultimate. 2 (undefined) and flags have no place here. */
export type TrustLevel = 3 | 4 | 5 | 6;

export interface TrustEntry {
  /** 40 lower-case hex digits. */
  readonly fingerprint: string;
  readonly level: TrustLevel;
}

const FORMAT = 'trust list';
const LIMIT = 4 * 2 ** 20;

function entries(bytes: Uint8Array, pattern: RegExp): RegExpExecArray[] {
  if (bytes.length > LIMIT) throw new Malformed(FORMAT, `longer than ${LIMIT} bytes`);
  const found: RegExpExecArray[] = [];
  for (const [index, text] of Buffer.from(bytes).toString('latin1').split('\n').entries()) {
    const line = text.endsWith('\r') ? text.slice(0, -1) : text;
    if (line === '' || line.startsWith('#')) continue;
    const match = pattern.exec(line);
    if (!match) throw new Malformed(FORMAT, `line ${index + 1} is no entry`);
    found.push(match);
  }
  return found;
}

/** `FINGERPRINT:LEVEL:` a line. Throws `Malformed`. */
export function decodeTrustedList(bytes: Uint8Array): TrustEntry[] {
  return entries(bytes, /^([0-9A-Fa-f]{40}):([3-6]):$/).map(([, fingerprint = '', level]) => ({
    fingerprint: fingerprint.toLowerCase(),
    level: Number(level) as TrustLevel,
  }));
}

export function encodeTrustedList(list: readonly TrustEntry[]): Uint8Array {
  return Buffer.from(
    list.map(({ fingerprint, level }) => `${fingerprint.toUpperCase()}:${level}:\n`).join(''),
  );
}

/** `FINGERPRINT` a line; 40 lower-case hex digits each. Throws `Malformed`. */
export function decodeRevokedList(bytes: Uint8Array): string[] {
  return entries(bytes, /^([0-9A-Fa-f]{40})$/).map(([, fingerprint = '']) => fingerprint.toLowerCase());
}

export function encodeRevokedList(fingerprints: readonly string[]): Uint8Array {
  return Buffer.from(fingerprints.map((fingerprint) => `${fingerprint.toUpperCase()}\n`).join(''));
}
