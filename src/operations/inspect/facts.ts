import type { RefusalCode } from '../../errors/refusal.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';

/**
 * What bytes say of themselves, by names in camel case. Times are `2026-11-01T00:00:00Z`, sizes bytes, digests
 * lower-case hex. Texts are as they were found: whoever shows them must see to it that nothing obeys them.
 */
export interface Facts {
  readonly [name: string]: Fact;
}
export type Fact = string | number | boolean | undefined | readonly string[] | Facts | readonly Facts[];

/** What `inspect` knows, and what it is called for people. */
export const KINDS = {
  release: 'sealed release',
  cms: 'CMS seal',
  'openpgp-signature': 'OpenPGP signature',
  'openpgp-keys': 'OpenPGP public keys',
  certificate: 'X.509 certificate',
  manifest: 'manifest of a release',
  snapshot: 'snapshot of a channel',
  successors: 'record of successors',
  countersignature: 'countersignature',
  checkpoint: 'checkpoint of a log',
  'log-entry': 'entry of a log',
  'log-proof': 'proof from a log',
  'seal-list': 'list of seals',
  'request-index': 'index of a signing request',
  'signing-request': 'signing request',
  'signing-response': 'answer to a signing request',
  'policy-floor': 'policy floor',
  checksums: 'checksum file',
  'root-hash': 'root hash of dm-verity',
  'verity-superblock': 'superblock of a dm-verity hash device',
  'ipxe-script': 'iPXE script',
  'grub-configuration': 'GRUB configuration',
  'efi-image': 'EFI image',
  kernel: 'kernel',
  initrd: 'plain initrd',
  'efi-signatures': 'list of EFI signatures',
  'efi-variable': 'authenticated EFI variable',
} as const;
export type InspectedKind = keyof typeof KINDS;

/** What one signature, checksum or tree says of itself. */
export interface SealFacts {
  readonly kind: 'CMS' | 'OpenPGP' | 'checksum' | 'verity';
  /** Common name, or issuer and serial number; a fingerprint or key id. Undefined where nobody signs. */
  readonly signer: string | undefined;
  readonly hash: string;
  /** `RSA 2048`; without a length where the key itself is not at hand. */
  readonly key: string | undefined;
  /** When it says that it was made. A CMS as ours says nothing of that. */
  readonly time: string | undefined;
  /** Of the signer's certificate, where that is at hand. */
  readonly notBefore: string | undefined;
  readonly notAfter: string | undefined;
  /** What else it says, where nobody signs. */
  readonly says?: string;
}

/** One row of a release: what a seal in it says, or why it could not be read. */
export interface SealRow extends Partial<SealFacts> {
  readonly path: string;
  readonly refusal?: { readonly code: RefusalCode; readonly message: string };
}

/** A boot script of a release, and what it names. */
export interface ScriptRow {
  readonly path: string;
  /** Digests of manifests. */
  readonly manifests: readonly string[];
  /** Common names that it demands of seals. */
  readonly signers: readonly string[];
  readonly refusal?: { readonly code: RefusalCode; readonly message: string };
}

/** What bytes were recognised as. */
export interface Recognised {
  readonly kind: InspectedKind;
  readonly facts: Facts;
  /** One for each signature, where it is a seal. */
  readonly seals?: readonly SealFacts[];
  /** Certificates in it. */
  readonly certificates?: readonly Certificate[];
}
