import type { Certificate } from '../formats/asn1/x509.ts';
import type { OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import type { OpenpgpPurpose } from '../trust/anchors.ts';
import type { CertifiedKey, Keys, LoaderKeys } from './keys/key-folder.ts';
import type { OpenpgpSecret } from './keys/openpgp-keys.ts';
import { OPENPGP_KEY_NAMES, OPENPGP_KEYS, type OpenpgpKeyName } from './seal-keys.ts';
import { type DigestSigner, keySigner } from './signers/digest-signer.ts';

/** Those whose seals a loader looks at: public halves, and no key. */
export interface LoaderSignatories {
  /** It issues leaves. */
  readonly ca: Certificate;
  /** Certificates above it, its issuer first and the root last; none where it is the root itself. */
  readonly above: readonly Certificate[];
  readonly boot: Certificate;
}

/** Whose seals a tree gets. */
export interface Signatories extends LoaderSignatories {
  readonly codesign: Certificate;
  readonly manifest: Certificate;
  readonly openpgp: Readonly<Record<OpenpgpPurpose, OpenpgpKey>>;
}

/** The certificate that loaders trust. */
export function rootOf({ ca, above }: Pick<LoaderSignatories, 'ca' | 'above'>): Certificate {
  return above.at(-1) ?? ca;
}

/** What a seal for a loader carries behind its signer: an iPXE that was given its root as TRUST= has no other copy. */
export function chainOf({ ca, above }: Pick<LoaderSignatories, 'ca' | 'above'>): readonly Uint8Array[] {
  return [ca, ...above].map(({ raw }) => raw);
}

/**
 * What a seal must carry whose verifier holds signer and root: openssl with `-nointern` takes no signer from inside a
 * seal, and builds the way to its `-CAfile` of what is there.
 */
export function betweenOf(loader: Pick<LoaderSignatories, 'ca' | 'above'>): readonly Uint8Array[] {
  return chainOf(loader).slice(0, -1);
}

/** A certificate, and who signs for it. */
export interface CertifiedSigner {
  readonly certificate: Certificate;
  readonly signer: DigestSigner;
}

export interface OpenpgpSigner {
  readonly key: OpenpgpKey;
  readonly signer: DigestSigner;
}

export interface LoaderSealingKeys {
  readonly ca: CertifiedSigner;
  readonly above: readonly Certificate[];
  readonly boot: CertifiedSigner;
}

/** Who signs for each signatory, wherever the keys are. */
export interface SealingKeys extends LoaderSealingKeys {
  readonly codesign: CertifiedSigner;
  readonly manifest: CertifiedSigner;
  readonly openpgp: Readonly<Record<OpenpgpPurpose, OpenpgpSigner>>;
}

/** The certificate that loaders trust, of keys. */
export function trustedOf({ ca, above }: Pick<LoaderSealingKeys, 'ca' | 'above'>): Certificate {
  return above.at(-1) ?? ca.certificate;
}

/** Signs with keys at hand. */
export function signersOf({ openpgp, codesign, manifest, ...loader }: Keys): SealingKeys {
  return {
    ...loaderSignersOf(loader),
    codesign: certifiedSigner('codesign', codesign),
    manifest: certifiedSigner('manifest', manifest),
    openpgp: {
      payload: openpgpSigner('openpgp', openpgp.payload),
      script: openpgpSigner('openpgp-script', openpgp.script),
      manifest: openpgpSigner('openpgp-manifest', openpgp.manifest),
    },
  };
}

export function loaderSignersOf({ ca, above, boot }: LoaderKeys): LoaderSealingKeys {
  return { ca: certifiedSigner('ca', ca), above, boot: certifiedSigner('boot', boot) };
}

export function certifiedSigner(name: string, { certificate, privateKey }: CertifiedKey): CertifiedSigner {
  return { certificate, signer: keySigner(privateKey, `private/${name}.key`) };
}

export function openpgpSigner(name: OpenpgpKeyName, { key, privateKey }: OpenpgpSecret): OpenpgpSigner {
  return { key, signer: keySigner(privateKey, `private/${name}.asc`) };
}

/** Each OpenPGP key by its name. */
export function byOpenpgpKey<T>(of: Readonly<Record<OpenpgpPurpose, T>>): [OpenpgpKeyName, T][] {
  return OPENPGP_KEY_NAMES.map((name) => [name, of[OPENPGP_KEYS[name]]]);
}

export function signatoriesOf({ ca, above, codesign, manifest, boot, openpgp }: SealingKeys): Signatories {
  return {
    ca: ca.certificate,
    above,
    codesign: codesign.certificate,
    manifest: manifest.certificate,
    boot: boot.certificate,
    openpgp: {
      payload: openpgp.payload.key,
      script: openpgp.script.key,
      manifest: openpgp.manifest.key,
    },
  };
}
