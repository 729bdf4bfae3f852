import { createHash, verify as verifySignature } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { calledOf } from '../formats/asn1/certificate-name.ts';
import { OID, signatureByOid } from '../formats/asn1/oids.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { demandNotRevoked, demandStrong, type Policy } from './policy.ts';
import { demandWithin } from './validity.ts';

/** Extensions that this verifier understands; any other that is critical ends the attempt (RFC 5280 §4.2). */
const KNOWN = new Set<string>([
  OID.keyUsage,
  OID.extKeyUsage,
  OID.basicConstraints,
  OID.subjectKeyIdentifier,
  OID.authorityKeyIdentifier,
  OID.subjectAltName,
]);

/** iPXE's own depth is bounded too; ours are two long. */
const MAX_DEPTH = 8;

export interface ChainRules {
  /** Compared whole: a root is trusted for what it is, never for its name. */
  readonly roots: readonly Certificate[];
  readonly intermediates: readonly Certificate[];
  /** Roots are recognised, never supplied: the chain must stand among the intermediates whole. */
  readonly complete?: boolean;
  /** Whether two names are one. By default where their bytes are: so iPXE finds an issuer, and so do we. */
  readonly isNamed?: (subject: Uint8Array, issuer: Uint8Array) => boolean;
  /** Milliseconds by which validity may be overstepped, both ways. */
  readonly margin: number;
  readonly now: number;
  readonly policy: Policy;
  /** Lower-case hex SHA-256 of what the leaf signed: a pin for it also covers weak links of the chain. */
  readonly content?: string;
  readonly onRemark?: (remark: string) => void;
}

/**
 * Builds and checks the path from `leaf` to a trusted root (RFC 5280 §6, without policies and name
 * constraints: a critical one of those is refused as unknown).
 *
 * @returns the path, leaf first. Throws a `Refusal`.
 */
export function verifyChain(leaf: Certificate, rules: ChainRules): readonly Certificate[] {
  const path = [leaf];
  const { isNamed = same } = rules;
  for (;;) {
    const current = path[path.length - 1] ?? leaf;
    demandKnownExtensions(current);
    demandNotRevoked(rules.policy, nameOf(current), fingerprint(current));
    demandWithin(nameOf(current), current.notBefore, current.notAfter, rules.now, rules.margin);
    if (rules.roots.some((root) => same(root.raw, current.raw))) return path;
    if (path.length === MAX_DEPTH) {
      throw new Refusal('untrusted-signer', `${nameOf(leaf)} has a chain longer than ${MAX_DEPTH}.`, {});
    }
    const pool = rules.complete ? rules.intermediates : [...rules.roots, ...rules.intermediates];
    const issuer = pool.find(
      (candidate) =>
        isNamed(candidate.subject, current.issuer) && !path.includes(candidate) && signed(candidate, current),
    );
    if (!issuer) throw noIssuer(leaf, current, pool);
    const signature = `The signature on ${nameOf(current)}`;
    const remark = demandStrong(rules.policy, signature, hashOf(current), issuer.key, rules.content);
    if (remark !== undefined) rules.onRemark?.(remark);
    demandIssuer(issuer, path.length - 1);
    path.push(issuer);
  }
}

/** "No such issuer" and "an issuer of that name who did not sign this" are different news. */
function noIssuer(leaf: Certificate, current: Certificate, pool: readonly Certificate[]): Refusal {
  const named = pool.some((other) => same(other.subject, current.issuer));
  const facts = { signer: calledOf(leaf), issuer: current.issuerName };
  if (named && !same(current.subject, current.issuer)) {
    return new Refusal(
      'bad-signature',
      `${nameOf(current)} names ${current.issuerName} as its issuer, whose key did not sign it.`,
      facts,
    );
  }
  return new Refusal(
    'untrusted-signer',
    `${nameOf(leaf)} leads to ${current.issuerName || 'an unnamed issuer'}, which is no trusted anchor.`,
    facts,
  );
}

/** @param below certificates between this issuer and the leaf, the leaf not counted. */
function demandIssuer(issuer: Certificate, below: number): void {
  if (!issuer.basicConstraints?.ca || (issuer.keyUsage && !issuer.keyUsage.has('keyCertSign'))) {
    throw new Refusal('wrong-purpose', `${nameOf(issuer)} may not issue certificates.`, {
      issuer: calledOf(issuer),
    });
  }
  const { pathLength } = issuer.basicConstraints;
  if (pathLength !== undefined && below > pathLength) {
    throw new Refusal(
      'wrong-purpose',
      `${nameOf(issuer)} allows ${pathLength} intermediates, and there are ${below}.`,
      {
        issuer: calledOf(issuer),
      },
    );
  }
}

/** A critical extension that this verifier does not understand (RFC 5280 §4.2). */
export function unknownCritical({ extensions }: Certificate): Certificate['extensions'][number] | undefined {
  return extensions.find(({ oid, critical }) => critical && !KNOWN.has(oid));
}

function demandKnownExtensions(certificate: Certificate): void {
  const unknown = unknownCritical(certificate);
  if (unknown) {
    throw new Refusal(
      'wrong-purpose',
      `${nameOf(certificate)} has a critical extension that is not known (${unknown.oid}).`,
      {
        oid: unknown.oid,
      },
    );
  }
}

/** Throws unless the certificate may sign code: digitalSignature, codeSigning. A TLS certificate may not. */
export function demandCodeSigning(certificate: Certificate): void {
  if (!certificate.keyUsage?.has('digitalSignature')) {
    throw new Refusal('wrong-purpose', `${nameOf(certificate)} is not a signing certificate.`, {
      lacks: 'digitalSignature',
    });
  }
  if (!certificate.extKeyUsage?.includes(OID.codeSigning)) {
    throw new Refusal('wrong-purpose', `${nameOf(certificate)} is not a code-signing certificate.`, {
      lacks: 'codeSigning',
    });
  }
}

function signed(issuer: Certificate, certificate: Certificate): boolean {
  const algorithm = signatureByOid(certificate.signatureAlgorithm);
  if (algorithm?.key !== issuer.key.type) return false;
  return verifySignature(algorithm.hash, certificate.tbs, issuer.key.object, certificate.signature);
}

function hashOf(certificate: Certificate): 'sha1' | 'sha256' | 'sha384' | 'sha512' {
  return (signatureByOid(certificate.signatureAlgorithm)?.hash ?? 'sha1') as 'sha256';
}

/** SHA-256 of the whole certificate, lower-case hex: what `openssl x509 -fingerprint -sha256` prints. */
export function fingerprint(certificate: Pick<Certificate, 'raw'>): string {
  return createHash('sha256').update(certificate.raw).digest('hex');
}

export function nameOf(certificate: Certificate): string {
  return `the certificate ${calledOf(certificate)}`;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
