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
