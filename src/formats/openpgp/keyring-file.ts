import { Malformed } from '../../errors/malformed.ts';
import { isArmored, pemLabels, readArmored } from '../asn1/armor-in-text.ts';
import { otherGnupgFile } from './gnupg-file.ts';
import { decodeKeybox, holdsX509, isKeybox } from './keybox.ts';

/** What people have their OpenPGP certificates in: exports, armor with text around, keyboxes; and what is none. */

/**
 * The certificates of a file as packets, whatever they are wrapped in: one element a key, block or file.
 *
 * @throws Malformed that names what the file is, where it is another one of GnuPG's, or of X.509.
 */
export function unwrapKeyring(bytes: Uint8Array): Uint8Array[] {
  if (isKeybox(bytes)) return decodeKeybox(bytes);
  if (!isArmored(bytes)) return [bytes];
  const labels = pemLabels(bytes);
  // A mail may hold a certificate of each kind.
  if (!labels.some((label) => label.startsWith('PGP '))) {
    const other = otherGnupgFile(bytes);
    if (other !== undefined) throw new Malformed('OpenPGP', other);
    const [pem] = labels;
    if (pem !== undefined) throw new Malformed('OpenPGP', `a ${pem} (X.509, PEM), which is no OpenPGP key`);
  }
  return readArmored(bytes).map(({ label, bytes: packets }) => {
    if (label === 'PUBLIC KEY BLOCK') return packets;
    const hint = label === 'PRIVATE KEY BLOCK' ? '; "gpg --armor --export > FILE" writes one' : '';
    throw new Malformed('OpenPGP armor', `a ${label} where a PUBLIC KEY BLOCK belongs${hint}`);
  });
}

/** Why there is no certificate in a file that `unwrapKeyring` takes, where that can be told. */
export function whyEmpty(bytes: Uint8Array): string | undefined {
  return isKeybox(bytes) && holdsX509(bytes)
    ? 'a keybox of gpgsm with X.509 certificates, and no OpenPGP key'
    : undefined;
}
