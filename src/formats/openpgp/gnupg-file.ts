import { PACKET, type Packet } from './openpgp-packet.ts';

/** What lies about in a GnuPG home and beside one, and is no keyring: people name it all the same. */

const EXPORT = '"gpg --export > FILE" writes a keyring';

/** Latin-1 text of a file's beginning, and what the file then is. */
const OTHERS: readonly (readonly [begins: RegExp, what: string])[] = [
  [/^SQLite format 3\0/, `a database of keyboxd (SQLite), which only GnuPG reads; ${EXPORT}`],
  [/^\x01gpg/, `a trust database of GnuPG, which holds no certificates; ${EXPORT}`],
  // Text in newer versions, a canonical S-expression in older ones.
  [
    /^([A-Z][A-Za-z-]*: .*\n([ \t].*\n)*)*Key: ?\(/,
    `a private key of GnuPG, for nobody else to read; ${EXPORT}`,
  ],
  [/^\([0-9]+:[a-z-]*private-key/, `a private key of GnuPG, for nobody else to read; ${EXPORT}`],
  [/^# List of assigned trustvalues/, 'a list of trust, which stands beside a keyring as NAME-trusted'],
  [
    /^:-----BEGIN PGP PUBLIC KEY BLOCK-----/m,
    `a revocation certificate, which GnuPG made for the day when its key is lost; it holds no key, and ${EXPORT}`,
  ],
];

/** Bytes that are looked at; a revocation certificate has a long text in front. */
const HEAD = 4096;

/** What a file is, where it is known and no keyring. */
export function otherGnupgFile(bytes: Uint8Array): string | undefined {
  const head = Buffer.from(bytes.subarray(0, HEAD)).toString('latin1');
  return OTHERS.find(([begins]) => begins.test(head))?.[1];
}

/** What packets are that begin with no key. */
export function keylessPackets({ tag, body }: Packet): string {
  if (tag !== PACKET.signature) return `packet type ${tag} before any public key`;
  const type = body[0] === 3 ? body[2] : body[1];
  return type === 0x20
    ? `a revocation certificate, which holds no key; "gpg --import" adds it to its own, and ${EXPORT}`
    : 'a signature, and no key';
}
