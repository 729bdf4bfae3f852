import { Malformed } from '../../errors/malformed.ts';
import { readPem } from './armor-in-text.ts';
import { TAG } from './der.ts';

/** RFC 7468 §5.3: what older programs write. */
const LABELS: ReadonlySet<string> = new Set(['CERTIFICATE', 'X509 CERTIFICATE']);

/** What stands in such files by mistake, and the way to what is meant. */
const OTHERS: readonly (readonly [label: RegExp, hint: string])[] = [
  [/PRIVATE KEY$/, 'certificates are for all to read, so take it out of there'],
  [/REQUEST$/, 'a CA has yet to sign it'],
  [/^(PKCS7|CMS)$/, '"openssl pkcs7 -print_certs -in FILE" writes the certificates in it'],
  [/^TRUSTED CERTIFICATE$/, '"openssl x509 -in FILE" writes it as everybody reads it'],
  [/^PGP /, 'that is OpenPGP, whose keys stand in keyrings'],
];

/**
 * Whether a file begins as one in DER does: a SEQUENCE of more than 127 bytes, as certificates, seals and keys of RSA are. Its
 * tag is also the digit 0 of a text; such a length takes several bytes, and says so with a top bit, which no text has there.
 */
export function beginsAsDer(bytes: Uint8Array): boolean {
  return bytes[0] === TAG.sequence && (bytes[1] ?? 0) >= 0x80;
}

/** What a file in DER holds that is no certificate, by what comes first in it: RFC 2315 §7, RFC 7292 §4. */
function demandCertificate(bytes: Uint8Array): void {
  const first = bytes[2 + ((bytes[1] ?? 0) & 0x7f)];
  if (first === TAG.oid) {
    throw new Malformed(
      'DER',
      'PKCS #7; "openssl pkcs7 -inform DER -print_certs -in FILE" writes the certificates in it',
    );
  }
  if (first === TAG.integer) {
    throw new Malformed(
      'DER',
      'a key or a PKCS #12 file; "openssl pkcs12 -nokeys -in FILE" writes the certificates of the latter',
    );
  }
}

/** The certificates of a file, each in DER: PEM with whatever text around it, or one in DER. Throws `Malformed`. */
export function certificateBlocks(bytes: Uint8Array): Uint8Array[] {
  if (beginsAsDer(bytes)) {
    demandCertificate(bytes);
    return [bytes];
  }
  return readPem(bytes).map(({ label, bytes: der }) => {
    if (LABELS.has(label)) return der;
    const hint = OTHERS.find(([other]) => other.test(label))?.[1];
    throw new Malformed('PEM', `a ${label} where a CERTIFICATE belongs${hint ? `: ${hint}` : ''}`);
  });
}
