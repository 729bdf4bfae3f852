import { createHash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { nameText } from './distinguished-name.ts';
import type { Certificate } from './x509.ts';

/**
 * What people call a certificate, and never nothing: its common name; all of its name where it has none that can be
 * shown; its digest (SHA-256, as `openssl x509 -fingerprint` prints it) where that is empty or no name. Nothing is
 * compared by it.
 */
export function calledOf({
  commonName,
  subject,
  raw,
}: Pick<Certificate, 'commonName' | 'subject' | 'raw'>): string {
  if (isShown(commonName)) return commonName;
  return textOf(subject) || `SHA-256 ${createHash('sha256').update(raw).digest('hex')}`;
}

/** A serial number as OpenSSL prints it: hexadecimal, in lower case here, a negative one with a minus. */
export function serialText(serialNumber: Uint8Array): string {
  const number = BigInt(`0x${Buffer.from(serialNumber).toString('hex')}`);
  const signed = BigInt.asIntN(serialNumber.length * 8, number);
  const hex = (signed < 0n ? -signed : signed).toString(16);
  return `${signed < 0n ? '-' : ''}${hex.length % 2 ? '0' : ''}${hex}`;
}

/** A UTF-16 or Latin-1 name, read as UTF-8, has NULs or marks of replacement in it. */
function isShown(name: string): boolean {
  return name.trim() !== '' && !/[\0\ufffd]/.test(name);
}

function textOf(name: Uint8Array): string {
  try {
    return nameText(name);
  } catch (error) {
    if (error instanceof Malformed) return '';
    throw error;
  }
}
