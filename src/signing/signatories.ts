import type { Certificate } from '../formats/asn1/x509.ts';
import type { OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import type { CertifiedKey, Keys, LoaderKeys } from './keys/key-folder.ts';
import type { OpenpgpSecret } from './keys/openpgp-keys.ts';
import { type DigestSigner, keySigner } from './signers/digest-signer.ts';

/** Whose seals a tree gets: public halves, and no key. */
export interface Signatories {
  readonly ca: Certificate;
  readonly codesign: Certificate;
  readonly boot: Certificate;
  readonly openpgp: OpenpgpKey;
}

/** Those whose seals a loader looks at. */
export type LoaderSignatories = Pick<Signatories, 'ca' | 'boot'>;

/** A certificate, and who signs for it. */
export interface CertifiedSigner {
  readonly certificate: Certificate;
  readonly signer: DigestSigner;
}

/** Who signs for each signatory, wherever the keys are. */
export interface SealingKeys {
  readonly ca: CertifiedSigner;
  readonly codesign: CertifiedSigner;
  readonly boot: CertifiedSigner;
  readonly openpgp: { readonly key: OpenpgpKey; readonly signer: DigestSigner };
}

export type LoaderSealingKeys = Pick<SealingKeys, 'ca' | 'boot'>;

/** Signs with keys at hand. */
export function signersOf({ openpgp, codesign, ...loader }: Keys): SealingKeys {
  return {
    ...loaderSignersOf(loader),
    codesign: certifiedSigner('codesign', codesign),
    openpgp: openpgpSigner(openpgp),
  };
}

export function loaderSignersOf({ ca, boot }: LoaderKeys): LoaderSealingKeys {
  return { ca: certifiedSigner('ca', ca), boot: certifiedSigner('boot', boot) };
}

export function certifiedSigner(name: string, { certificate, privateKey }: CertifiedKey): CertifiedSigner {
  return { certificate, signer: keySigner(privateKey, `private/${name}.key`) };
}

export function openpgpSigner({ key, privateKey }: OpenpgpSecret): SealingKeys['openpgp'] {
  return { key, signer: keySigner(privateKey, 'private/openpgp.asc') };
}

export function signatoriesOf({ ca, codesign, boot, openpgp }: SealingKeys): Signatories {
  return {
    ca: ca.certificate,
    codesign: codesign.certificate,
    boot: boot.certificate,
    openpgp: openpgp.key,
  };
}
