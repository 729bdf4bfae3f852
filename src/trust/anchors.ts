import { createHash } from 'node:crypto';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { certificateBlocks } from '../formats/asn1/certificate-file.ts';
import { type Certificate, decodeCertificate } from '../formats/asn1/x509.ts';
import { decodeSignatureLists } from '../formats/efi/efi-signature-list.ts';
import { unwrapKeyring, whyEmpty } from '../formats/openpgp/keyring-file.ts';
import { decodeOr } from './check.ts';
import { keyMaterial } from './key-material.ts';
import { decodeOpenpgpCertificates, type OpenpgpCertificate } from './openpgp-certificate.ts';
import type { SecureBootAnchors } from './secure-boot-check.ts';

/** What a verifier starts from. */
export interface Anchors {
  /** The certificate authority: what loaders trust, and `/codesign_CA.crt`; with an issuing CA the root above it. */
  readonly ca: readonly Certificate[];
  /** Exactly the certificates whose seals of payload early userspace takes: `/codesign.crt`. */
  readonly codesign: readonly Certificate[];
  /** Exactly the certificates whose seals of records are taken: `/bootseal/manifest.crt`. */
  readonly manifest: readonly Certificate[];
  /** The common name that loaders demand of `boot.ipxe`. */
  readonly bootSigner: string | undefined;
  readonly openpgp: OpenpgpAnchors;
  /** What the site's Secure Boot firmware holds: `db.crt`, and `dbx.esl`. */
  readonly secureBoot?: SecureBootAnchors | undefined;
}

/** Keyrings by what their keys sign: a seal of one kind says nothing of another. */
export type OpenpgpAnchors = Readonly<Record<OpenpgpPurpose, readonly OpenpgpCertificate[]>>;

/** What an OpenPGP key signs: files of a release, `grub.cfg`, or the manifest. */
export type OpenpgpPurpose = 'payload' | 'script' | 'manifest';

/** The file of each keyring in an `anchors/` folder. */
export const KEYRINGS = { payload: 'pubring.gpg', script: 'script.gpg', manifest: 'manifest.gpg' } as const;

export const NO_KEYRINGS: OpenpgpAnchors = { payload: [], script: [], manifest: [] };

/** Nothing but what a caller adds. */
export const NO_ANCHORS: Omit<Anchors, 'ca' | 'bootSigner'> = {
  codesign: [],
  manifest: [],
  openpgp: NO_KEYRINGS,
};

/** The files of an `anchors/` folder, as far as they exist. */
export interface AnchorFiles {
  readonly 'ca.crt': Uint8Array;
  readonly 'codesign.crt'?: Uint8Array | undefined;
  readonly 'boot.crt'?: Uint8Array | undefined;
  readonly 'manifest.crt'?: Uint8Array | undefined;
  readonly 'pubring.gpg'?: Uint8Array | undefined;
  readonly 'script.gpg'?: Uint8Array | undefined;
  readonly 'manifest.gpg'?: Uint8Array | undefined;
  readonly 'db.crt'?: Uint8Array | undefined;
  readonly 'dbx.esl'?: Uint8Array | undefined;
}

/** Throws a `Refusal`: `malformed`, which names the file; `wrong-purpose` for a key that is there for two purposes. */
export function decodeAnchors(files: AnchorFiles): Anchors {
  const certificates = (name: 'codesign.crt' | 'boot.crt' | 'manifest.crt') =>
    files[name] ? decodeCertificates(name, files[name]) : [];
  const keyring = (name: (typeof KEYRINGS)[OpenpgpPurpose]) =>
    files[name] ? decodeKeyring(name, files[name]) : [];
  const boot = certificates('boot.crt');
  const anchors = {
    ca: decodeCertificates('ca.crt', files['ca.crt']),
    codesign: certificates('codesign.crt'),
    manifest: certificates('manifest.crt'),
    bootSigner: boot[0]?.commonName,
    openpgp: {
      payload: keyring('pubring.gpg'),
      script: keyring('script.gpg'),
      manifest: keyring('manifest.gpg'),
    },
    ...(files['db.crt'] ? { secureBoot: decodeSecureBoot(files['db.crt'], files['dbx.esl']) } : {}),
  };
  demandOnePurpose({
    'ca.crt': anchors.ca.map(numbers),
    'codesign.crt': anchors.codesign.map(numbers),
    'boot.crt': boot.map(numbers),
    'manifest.crt': anchors.manifest.map(numbers),
    'pubring.gpg': signingKeys(anchors.openpgp.payload),
    'script.gpg': signingKeys(anchors.openpgp.script),
    'manifest.gpg': signingKeys(anchors.openpgp.manifest),
    'db.crt': (anchors.secureBoot?.db ?? []).flatMap((entry) =>
      entry.type === 'x509' ? [numbers(entry.certificate)] : [],
    ),
  });
  return anchors;
}

/**
 * A key signs payload, or scripts, or records, never two of these: else whoever has one of them signed has another
 * signed with it, such as an initrd that is the text of a manifest.
 */
function demandOnePurpose(keys: Readonly<Record<string, readonly string[]>>): void {
  const places = new Map<string, string>();
  for (const [file, found] of Object.entries(keys)) {
    for (const key of found) {
      const before = places.get(key);
      if (before !== undefined && before !== file) {
        throw new Refusal(
          'wrong-purpose',
          `${before} and ${file} hold the same key, and a key has one purpose; make another one for ${file}.`,
          { path: file },
        );
      }
      places.set(key, file);
    }
  }
}

function numbers({ key }: Certificate): string {
  return keyMaterial(key.object);
}

/** Of the keys that sign: a primary key that only certifies may be the same in several exports. */
function signingKeys(certificates: readonly OpenpgpCertificate[]): string[] {
  return certificates.flatMap(({ keys }) =>
    keys
      .filter(({ maySign }) => maySign)
      .map(({ key: { object, fingerprint } }) => (object ? keyMaterial(object) : fingerprint)),
  );
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
    if (certificates.length === 0) {
      throw new Malformed('OpenPGP', whyEmpty(bytes) ?? 'no key in it that can be read');
    }
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
