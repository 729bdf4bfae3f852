import { createHash } from 'node:crypto';
import { Malformed } from '../errors/malformed.ts';
import { certificateBlocks } from '../formats/asn1/certificate-file.ts';
import { type Certificate, decodeCertificate } from '../formats/asn1/x509.ts';
import { decodeSignatureLists } from '../formats/efi/efi-signature-list.ts';
import { unwrapKeyring } from '../formats/openpgp/keyring-file.ts';
import { decodeOr } from './check.ts';
import { decodeOpenpgpCertificates, type OpenpgpCertificate } from './openpgp-certificate.ts';
import type { SecureBootAnchors } from './secure-boot-check.ts';

/** What a verifier starts from. */
export interface Anchors {
  /** The certificate authority: what loaders trust, and `/codesign_CA.crt`. */
  readonly ca: readonly Certificate[];
  /** Exactly the certificates whose seals early userspace takes: `/codesign.crt`. */
  readonly codesign: readonly Certificate[];
  /** The common name that loaders demand of `boot.ipxe`. */
  readonly bootSigner: string | undefined;
  readonly openpgp: readonly OpenpgpCertificate[];
  /** What the site's Secure Boot firmware holds: `db.crt`, and `dbx.esl`. */
  readonly secureBoot?: SecureBootAnchors | undefined;
}

/** The files of an `anchors/` folder, as far as they exist. */
export interface AnchorFiles {
  readonly 'ca.crt': Uint8Array;
  readonly 'codesign.crt'?: Uint8Array | undefined;
  readonly 'boot.crt'?: Uint8Array | undefined;
  readonly 'pubring.gpg'?: Uint8Array | undefined;
  readonly 'db.crt'?: Uint8Array | undefined;
  readonly 'dbx.esl'?: Uint8Array | undefined;
}

/** Throws a `Refusal` (`malformed`) that names the file. */
export function decodeAnchors(files: AnchorFiles): Anchors {
  const boot = files['boot.crt'] && decodeCertificates('boot.crt', files['boot.crt'])[0];
  const keyring = files['pubring.gpg'];
  return {
    ca: decodeCertificates('ca.crt', files['ca.crt']),
    codesign: files['codesign.crt'] ? decodeCertificates('codesign.crt', files['codesign.crt']) : [],
    bootSigner: boot?.commonName,
    openpgp: keyring ? decodeKeyring('pubring.gpg', keyring) : [],
    ...(files['db.crt'] ? { secureBoot: decodeSecureBoot(files['db.crt'], files['dbx.esl']) } : {}),
  };
}

/** Whose entry it is in the lists of firmware plays no part in what they decide. */
const NOBODY = '00000000-0000-0000-0000-000000000000';

function decodeSecureBoot(db: Uint8Array, dbx: Uint8Array | undefined): SecureBootAnchors {
  return {
    db: decodeCertificates('db.crt', db).map((certificate) => ({ owner: NOBODY, type: 'x509', certificate })),
    dbx: dbx ? decodeOr('dbx.esl', () => decodeSignatureLists(dbx)) : [],
  };
}

/**
 * The certificates of a keyring, at least one: an empty keyring would leave the OpenPGP seals unasked, as if there were
 * none. Throws a `Refusal` (`malformed`).
 */
export function decodeKeyring(name: string, bytes: Uint8Array): OpenpgpCertificate[] {
  return decodeOr(name, () => {
    const certificates = decodeOpenpgpCertificates(Buffer.concat(unwrapKeyring(bytes)));
    if (certificates.length === 0) throw new Malformed('OpenPGP', 'no key in it that can be read');
    return certificates;
  });
}

/** Certificates of a file: PEM, whatever text is around it, or DER. Throws a `Refusal` (`malformed`). */
export function decodeCertificates(name: string, bytes: Uint8Array): Certificate[] {
  return decodeOr(name, () => certificateBlocks(bytes).map((der) => decodeCertificate(der)));
}

/** Names a CA in URLs: the first 16 hex digits of its certificate's SHA-256. */
export function anchorId(ca: Certificate): string {
  return createHash('sha256').update(ca.raw).digest('hex').slice(0, 16);
}
