import { createHash, type KeyObject, randomBytes } from 'node:crypto';
import type { SignedData } from '../../formats/asn1/cms.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { isIssuedBy } from '../seal-plan.ts';
import type { CertifiedSigner, LoaderSignatories } from '../signatories.ts';
import { demandSignature, keySigner } from '../signers/digest-signer.ts';
import type { KeyKind, MakeKeyPair } from './key-pair.ts';
import { leafKeyPair } from './leaf-key-pair.ts';
import { readProfile } from './profiles.ts';

const DAY = 86_400_000;

/**
 * What a release leaf must be: the certificate that signs one release for iPXE. Its common name is the release
 * id, which the boot script demands: that is what stops an old kernel with its old valid signature.
 */
export interface LeafOrder {
  readonly commonName: string;
  /** Milliseconds since 1970, whole seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly kind: KeyKind;
  /** Modulus length; ignored for P-256. */
  readonly bits: number;
}

export interface LeafTerms {
  readonly release: string;
  /** Milliseconds since 1970. */
  readonly issued: number;
  readonly bestBefore: number;
  /** Overrides the profile's modulus length. */
  readonly rsaBits?: number | undefined;
}

/** The leaf that a CA shall issue for a release. */
export function leafOrder(ca: Certificate, { release, issued, bestBefore, rsaBits }: LeafTerms): LeafOrder {
  const profile = readProfile('release');
  return {
    commonName: release,
    // Backdated for clocks in local time; never longer than the CA that stands behind it.
    notBefore: issued - DAY,
    notAfter: Math.min(bestBefore + profile.days * DAY, ca.notAfter),
    kind: ca.key.type === 'rsa' ? 'rsa' : 'p256',
    bits: rsaBits ?? profile.rsa_bits,
  };
}

/** The certificate of an existing seal's signer, when it is a leaf of this release that lasts long enough. */
export function existingLeaf(
  data: SignedData,
  { ca, above }: Pick<LoaderSignatories, 'ca' | 'above'>,
  { release, issued, bestBefore }: LeafTerms,
): Certificate | undefined {
  const [info] = data.signers;
  const leaf = data.certificates.find(
    (certificate) =>
      info &&
      Buffer.compare(certificate.issuer, info.issuer) === 0 &&
      Buffer.compare(certificate.serialNumber, info.serialNumber) === 0,
  );
  const chainInside = [ca, ...above].every(({ raw }) =>
    data.certificates.some((certificate) => Buffer.compare(certificate.raw, raw) === 0),
  );
  const fits =
    leaf &&
    chainInside &&
    leaf.commonName === release &&
    leaf.notBefore <= issued &&
    leaf.notAfter >= Math.min(bestBefore, ca.notAfter) &&
    isIssuedBy(leaf, ca);
  return fits ? leaf : undefined;
}

/** Makes a key, has the CA certify it, and keeps the key in the answer alone: who drops it throws it away. */
export async function mintLeaf(
  order: LeafOrder,
  ca: CertifiedSigner,
  makeKeyPair: MakeKeyPair = leafKeyPair,
): Promise<CertifiedSigner> {
  // Whoever keeps the leaf of an existing seal writes no certificate, and waits for no library that can.
  const [{ publicKey, privateKey }] = await Promise.all([
    makeKeyPair(order.kind, order.bits),
    import('./certificate.ts'),
  ]);
  return {
    certificate: await certify(order, publicKey, ca),
    signer: keySigner(privateKey, `the release leaf of ${order.commonName}`),
  };
}

/** Has a CA certify a key that is there, for code and nothing else. Throws what its signer throws. */
export async function certify(
  { commonName, notBefore, notAfter }: LeafOrder,
  publicKey: KeyObject,
  ca: CertifiedSigner,
): Promise<Certificate> {
  const { draftCertificate } = await import('./certificate.ts');
  const { tbs, certificate } = draftCertificate({
    profile: readProfile('release'),
    commonName,
    publicKey,
    notBefore,
    notAfter,
    serial: randomBytes(16),
    issuer: ca.certificate,
  });
  const digest = createHash('sha256').update(tbs).digest();
  return decodeCertificate(certificate(await demandSignature(ca.signer, 'sha256', digest)));
}
