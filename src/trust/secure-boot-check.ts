import { createHash, verify as verifySignature } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { calledOf } from '../formats/asn1/certificate-name.ts';
import type { HashName } from '../formats/asn1/oids.ts';
import { signatureByOid } from '../formats/asn1/oids.ts';
import { isRsaSignature } from '../formats/asn1/pkcs1.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import {
  type AuthenticodeSignature,
  authenticodeDigest,
  decodeAuthenticode,
} from '../formats/efi/authenticode.ts';
import type { EfiSignature } from '../formats/efi/efi-signature-list.ts';
import { decodePe, PE_MACHINE, type PeImage } from '../formats/efi/pe.ts';
import { peSignatures } from '../formats/efi/pe-write.ts';
import { nameOf, unknownCritical } from './chain.ts';
import { decodeOr } from './check.ts';

/** What firmware holds: db says what may run, dbx what may not, whoever signed it. */
export interface SecureBootAnchors {
  readonly db: readonly EfiSignature[];
  readonly dbx: readonly EfiSignature[];
}

export interface SecureBootVerdict {
  /** What the certificate of db is called that stands behind it; `hash` where db names the image itself. */
  readonly by: string;
  /** What the certificate of who signed is called; undefined where db names the image itself. */
  readonly signer: string | undefined;
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
  demandFirmwareProgram(what, image);
  const digest = hex(authenticodeDigest(bytes, image, 'sha256'));
  // Of an image without signatures whose length is no multiple of eight, tools take one and firmware the other.
  const bare = hex(authenticodeDigest(bytes, image, 'sha256', image.certificateTable !== undefined));
  // 2. The image itself is forbidden.
  if (anchors.dbx.some((entry) => entry.type === 'sha256' && [digest, bare].includes(entry.digest))) {
    throw new Refusal('revoked', `${what} is forbidden: its digest is in dbx.`, { digest });
  }
  // 3. Each signature: over this image, by its signer. One that does not hold counts for nothing.
  const failures: Refusal[] = [];
  let found: Omit<SecureBootVerdict, 'digest'> | undefined;
  for (const signature of signatures) {
    try {
      // 4. Whoever is forbidden spoils the image, beside a good signature and by one that does not hold.
      const signers = signersOf(what, signature, anchors.dbx.length > 0);
      for (const { certificate } of signers)
        demandNotForbidden(what, certificate, pathOf(certificate, signature.certificates), anchors.dbx);
      demandHolds(what, bytes, image, signature, signers);
      // 5. All of its signers lead to db.
      const by = signers.map(({ certificate }) => {
        const anchor = anchorOf(what, certificate, signature, anchors.db);
        demandNotForbidden(what, certificate, [anchor], anchors.dbx);
        return calledOf(anchor);
      });
      const names = signers.map(({ certificate }) => calledOf(certificate));
      found ??= { by: by.join(', '), signer: names.join(', ') };
    } catch (error) {
      if (!(error instanceof Refusal) || error.code === 'revoked') throw error;
      failures.push(error);
    }
  }
  if (found) return { ...found, digest };
  // 6. Not signed, or by nobody that counts: db may name the image itself.
  if (anchors.db.some((entry) => entry.type === 'sha256' && entry.digest === bare)) {
    return { by: 'hash', signer: undefined, digest };
  }
  const [first] = failures;
  if (first) throw first;
  throw new Refusal('absent', `${what} is not signed, and its digest is not in db.`, { digest });
}

/** EFI applications, boot service and runtime drivers (UEFI 2.10 §2.1.1), for machines that we know. */
function demandFirmwareProgram(what: string, { subsystem, machine }: PeImage): void {
  const known = Object.values(PE_MACHINE).some((one) => one === machine);
  if (known && subsystem >= 10 && subsystem <= 12) return;
  throw new Refusal('malformed', `${what} is no EFI program that 64-bit firmware starts.`, {
    subsystem,
    machine,
  });
}

interface Signer {
  readonly info: AuthenticodeSignature['signers'][number];
  readonly certificate: Certificate;
}

/** Who claims to have signed. @param forbids whether there is a dbx: it then counts as forbidden to be nobody. */
function signersOf(
  what: string,
  { signers, certificates }: AuthenticodeSignature,
  forbids: boolean,
): readonly Signer[] {
  if (signers.length === 0) throw new Refusal('bad-signature', `${what} holds a signature by nobody.`, {});
  return signers.map((info) => {
    const certificate = certificates.find(
      ({ issuer, serialNumber }) => same(issuer, info.issuer) && same(serialNumber, info.serialNumber),
    );
    if (certificate) return { info, certificate };
    throw forbids
      ? new Refusal(
          'revoked',
          `${what} holds a signature without its signer's certificate, which firmware with a dbx takes for a forbidden one.`,
          {},
        )
      : new Refusal('untrusted-signer', `${what}: the signer's certificate is not inside the signature.`, {});
  });
}

/** Throws unless all of a signature's signers have signed this image. */
function demandHolds(
  what: string,
  bytes: Uint8Array,
  image: PeImage,
  { hash, imageDigest, content }: AuthenticodeSignature,
  signers: readonly Signer[],
): void {
  demandStrongHash(what, hash);
  const bad = (why: string) => new Refusal('bad-signature', `${what} ${why}.`, {});
  if (Buffer.compare(authenticodeDigest(bytes, image, hash), imageDigest) !== 0) {
    throw bad('does not match its signature: the image or its signature was changed');
  }
  const contentDigest = createHash(hash).update(content).digest();
  for (const { info, certificate } of signers) {
    if (!same(contentDigest, info.messageDigest)) throw bad('holds a signature over another content');
    const { key } = certificate;
    const attributes = createHash(hash).update(info.signed).digest();
    const holds =
      info.key === 'rsa' &&
      key.type === 'rsa' &&
      isRsaSignature(key.object, hash, attributes, info.signature);
    if (!holds) throw bad(`holds a signature that is not by the key of ${nameOf(certificate)}`);
  }
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
  path: readonly Certificate[],
  dbx: readonly EfiSignature[],
): void {
  for (const entry of dbx) {
    const forbidden = path.find((certificate) =>
      entry.type === 'x509'
        ? same(entry.certificate.raw, certificate.raw) || signed(entry.certificate, certificate)
        : // A time from which on it is revoked asks for a trusted time stamp, which no signature of ours has.
          entry.type === 'x509-hash' &&
          createHash(entry.hash).update(certificate.tbs).digest('hex') === entry.digest,
    );
    if (forbidden) {
      throw new Refusal(
        'revoked',
        `${what} is signed by ${calledOf(signer)}, and ${nameOf(forbidden)} is in dbx.`,
        {
          signer: calledOf(signer),
        },
      );
    }
  }
}

/** The certificate of db that a signer is, or leads to: any on the way, not only a root. */
function anchorOf(
  what: string,
  signer: Certificate,
  { certificates }: AuthenticodeSignature,
  db: readonly EfiSignature[],
): Certificate {
  const trusted = db.flatMap((entry) => (entry.type === 'x509' ? [entry.certificate] : []));
  const path = pathOf(signer, certificates);
  for (const [below, certificate] of path.entries()) {
    // OpenSSL, which firmware asks, ends at a critical extension that it does not know.
    if (unknownCritical(certificate)) break;
    const anchor = trusted.find(
      (one) => same(one.raw, certificate.raw) || (isIssuer(one, certificate) && allows(one, below)),
    );
    if (anchor && !unknownCritical(anchor)) return anchor;
    const above = path[below + 1];
    if (above && !allows(above, below)) break;
  }
  throw new Refusal('untrusted-signer', `${what} is signed by ${calledOf(signer)}, whom db does not know.`, {
    signer: calledOf(signer),
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

/** @param below certificates between this one and the signer. */
function allows({ basicConstraints }: Certificate, below: number): boolean {
  return basicConstraints?.pathLength === undefined || below <= basicConstraints.pathLength;
}

function isIssuer(issuer: Certificate, certificate: Certificate): boolean {
  return (
    issuer.basicConstraints?.ca === true &&
    (issuer.keyUsage === undefined || issuer.keyUsage.has('keyCertSign')) &&
    signed(issuer, certificate)
  );
}

/** Whether it may or not: what dbx forbids ends also what its key signed without leave. */
function signed(issuer: Certificate, certificate: Certificate): boolean {
  const algorithm = signatureByOid(certificate.signatureAlgorithm);
  return (
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
