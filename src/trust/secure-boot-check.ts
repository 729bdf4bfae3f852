import { createHash, verify as verifySignature } from 'node:crypto';
import {
  type AuthenticodeSignature,
  authenticodeDigest,
  decodeAuthenticode,
} from '../formats/authenticode.ts';
import type { EfiSignature } from '../formats/efi-signature-list.ts';
import type { HashName } from '../formats/oids.ts';
import { signatureByOid } from '../formats/oids.ts';
import { decodePe, type PeImage } from '../formats/pe.ts';
import { peSignatures } from '../formats/pe-write.ts';
import { isRsaSignature } from '../formats/pkcs1.ts';
import type { Certificate } from '../formats/x509.ts';
import { Refusal } from '../release/refusal.ts';
import { nameOf } from './chain.ts';
import { decodeOr } from './check.ts';

/** What firmware holds: db says what may run, dbx what may not, whoever signed it. */
export interface SecureBootAnchors {
  readonly db: readonly EfiSignature[];
  readonly dbx: readonly EfiSignature[];
}

export interface SecureBootVerdict {
  /** Common name of the certificate of db that stands behind it; `hash` where db names the image itself. */
  readonly by: string;
  /** Common name of who signed; empty where db names the image itself. */
  readonly signer: string;
  /** Authenticode digest, SHA-256, lower-case hex. */
  readonly digest: string;
}

/** Firmware of EDK2 goes no deeper than OpenSSL does by itself; ours are one long. */
const MAX_DEPTH = 8;

/**
 * Whether firmware with Secure Boot starts an image (UEFI 2.10 §32.5.3.3, as EDK2's DxeImageVerificationLib does it):
 * one signature whose chain meets a certificate of db suffices, or the image's digest in db; a digest in dbx, or a
 * signature whose chain holds a certificate of dbx, ends it all.
 *
 * No time is asked, on purpose: firmware looks at no certificate's validity, since a machine's clock is nothing that
 * it can trust. An image ends with dbx alone.
 *
 * @param what names the image in refusals.
 * @throws Refusal `malformed`, `absent` (not signed), `bad-signature`, `untrusted-signer`, `revoked`, `weak-algorithm`.
 */
export function verifySecureBoot(
  what: string,
  bytes: Uint8Array,
  anchors: SecureBootAnchors,
): SecureBootVerdict {
  // 1. An image that two readers read alike.
  const image = decodeOr(what, () => decodePe(bytes));
  const signatures = decodeOr(what, () => peSignatures(bytes, image).map(decodeAuthenticode));
  const digest = hex(authenticodeDigest(bytes, image, 'sha256'));
  // 2. The image itself is forbidden.
  if (anchors.dbx.some((entry) => entry.type === 'sha256' && entry.digest === digest)) {
    throw new Refusal('revoked', `${what} is forbidden: its digest is in dbx.`, { digest });
  }
  // 3. Each signature: over this image, by its signer. One that does not hold counts for nothing.
  const failures: Refusal[] = [];
  let found: Omit<SecureBootVerdict, 'digest'> | undefined;
  for (const signature of signatures) {
    try {
      const signers = demandHolds(what, bytes, image, signature);
      // 4. Whoever is forbidden spoils the image, also beside a good signature.
      for (const signer of signers) demandNotForbidden(what, signer, signature, anchors.dbx);
      // 5. All of its signers lead to db.
      const by = signers.map((signer) => anchorOf(what, signer, signature, anchors.db));
      found ??= { by: by.join(', '), signer: signers.map(({ commonName }) => commonName).join(', ') };
    } catch (error) {
      if (!(error instanceof Refusal) || error.code === 'revoked') throw error;
      failures.push(error);
    }
  }
  if (found) return { ...found, digest };
  // 6. Not signed, or by nobody that counts: db may name the image itself.
  if (anchors.db.some((entry) => entry.type === 'sha256' && entry.digest === digest)) {
    return { by: 'hash', signer: '', digest };
  }
  const [first] = failures;
  if (first) throw first;
  throw new Refusal('absent', `${what} is not signed, and its digest is not in db.`, { digest });
}

/** The certificates of a signature's signers, once all of them are shown to have signed this image. */
function demandHolds(
  what: string,
  bytes: Uint8Array,
  image: PeImage,
  signature: AuthenticodeSignature,
): Certificate[] {
  const { hash, imageDigest, content } = signature;
  demandStrongHash(what, hash);
  if (signature.signers.length === 0)
    throw new Refusal('bad-signature', `${what} holds a signature by nobody.`, {});
  const bad = (why: string) => new Refusal('bad-signature', `${what} ${why}.`, {});
  if (Buffer.compare(authenticodeDigest(bytes, image, hash), imageDigest) !== 0) {
    throw bad('does not match its signature: the image or its signature was changed');
  }
  const contentDigest = createHash(hash).update(content).digest();
  return signature.signers.map((signer) => {
    const certificate = signature.certificates.find(
      ({ issuer, serialNumber }) => same(issuer, signer.issuer) && same(serialNumber, signer.serialNumber),
    );
    if (!certificate) {
      throw new Refusal(
        'untrusted-signer',
        `${what}: the signer's certificate is not inside the signature.`,
        {},
      );
    }
    if (!same(contentDigest, signer.messageDigest)) throw bad('holds a signature over another content');
    const { key } = certificate;
    const attributes = createHash(hash).update(signer.signed).digest();
    const holds =
      signer.key === 'rsa' &&
      key.type === 'rsa' &&
      isRsaSignature(key.object, hash, attributes, signer.signature);
    if (!holds) throw bad(`holds a signature that is not by the key of ${nameOf(certificate)}`);
    return certificate;
  });
}

function demandStrongHash(what: string, hash: HashName): void {
  if (hash === 'sha256' || hash === 'sha384' || hash === 'sha512') return;
  throw new Refusal('weak-algorithm', `${what} is signed with ${hash}; firmware of today wants SHA-256.`, {
    hash,
  });
}

/** Every certificate on the way up, and each by its hash (UEFI 2.10 §32.4.1, EFI_CERT_X509_SHA256_GUID). */
function demandNotForbidden(
  what: string,
  signer: Certificate,
  { certificates }: AuthenticodeSignature,
  dbx: readonly EfiSignature[],
): void {
  const path = pathOf(signer, certificates);
  for (const entry of dbx) {
    const forbidden = path.find((certificate) =>
      entry.type === 'x509'
        ? same(entry.certificate.raw, certificate.raw) || isIssuer(entry.certificate, certificate)
        : // A time from which on it is revoked asks for a trusted time stamp, which no signature of ours has.
          entry.type === 'x509-hash' &&
          createHash(entry.hash).update(certificate.tbs).digest('hex') === entry.digest,
    );
    if (forbidden) {
      throw new Refusal(
        'revoked',
        `${what} is signed by ${signer.commonName}, and ${nameOf(forbidden)} is in dbx.`,
        {
          signer: signer.commonName,
        },
      );
    }
  }
}

/** The common name of the certificate of db that a signer is, or leads to: any on the way, not only a root. */
function anchorOf(
  what: string,
  signer: Certificate,
  { certificates }: AuthenticodeSignature,
  db: readonly EfiSignature[],
): string {
  const trusted = db.flatMap((entry) => (entry.type === 'x509' ? [entry.certificate] : []));
  for (const certificate of pathOf(signer, certificates)) {
    const anchor = trusted.find((one) => same(one.raw, certificate.raw) || isIssuer(one, certificate));
    if (anchor) return anchor.commonName;
  }
  throw new Refusal('untrusted-signer', `${what} is signed by ${signer.commonName}, whom db does not know.`, {
    signer: signer.commonName,
  });
}

/** From a signer up, as far as the certificates beside it lead. */
function pathOf(signer: Certificate, certificates: readonly Certificate[]): Certificate[] {
  const path = [signer];
  while (path.length < MAX_DEPTH) {
    const last = path[path.length - 1] as Certificate;
    const issuer = certificates.find((one) => !path.includes(one) && isIssuer(one, last));
    if (!issuer) break;
    path.push(issuer);
  }
  return path;
}

function isIssuer(issuer: Certificate, certificate: Certificate): boolean {
  const algorithm = signatureByOid(certificate.signatureAlgorithm);
  return (
    issuer.basicConstraints?.ca === true &&
    (issuer.keyUsage === undefined || issuer.keyUsage.has('keyCertSign')) &&
    same(issuer.subject, certificate.issuer) &&
    algorithm?.key === issuer.key.type &&
    verifySignature(algorithm.hash, certificate.tbs, issuer.key.object, certificate.signature)
  );
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
