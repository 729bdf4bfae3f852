import { Malformed } from '../../errors/malformed.ts';
import { isArmored, readArmored } from '../asn1/armor-in-text.ts';
import { decodeKeybox } from './keybox.ts';

/** What people have their OpenPGP certificates in: exports, armor with text around, keyboxes; and what is none. */

/** Files of a GnuPG home that are no keyrings, by how they begin. */
const OTHERS: readonly (readonly [begins: string, what: string])[] = [
  [
    'SQLite format 3\0',
    'a database of keyboxd (SQLite), which only GnuPG reads; "gpg --export > FILE" writes a keyring',
  ],
  [
    '\u0001gpg',
    'a trust database of GnuPG, which holds no certificates; "gpg --export > FILE" writes a keyring',
  ],
  ['Created: ', 'a private key of GnuPG; "gpg --export > FILE" writes a keyring'],
  ['Key: ', 'a private key of GnuPG; "gpg --export > FILE" writes a keyring'],
];

/**
 * The certificates of a file as packets, whatever they are wrapped in: one element a key, block or file.
 *
 * @throws Malformed that names what the file is, where it is another one of GnuPG's.
 */
export function unwrapKeyring(bytes: Uint8Array): Uint8Array[] {
  const head = Buffer.from(bytes.subarray(0, 16)).toString('latin1');
  if (head.slice(8, 12) === 'KBXf') return decodeKeybox(bytes);
  const other = OTHERS.find(([begins]) => head.startsWith(begins));
  if (other) throw new Malformed('OpenPGP', other[1]);
  if (!isArmored(bytes)) return [bytes];
  return readArmored(bytes).map(({ label, bytes: packets }) => {
    if (label === 'PUBLIC KEY BLOCK') return packets;
    throw new Malformed('OpenPGP armor', `a ${label} where a PUBLIC KEY BLOCK belongs`);
  });
}
