import { Malformed } from '../../errors/malformed.ts';
import {
  contextTag,
  type DerCursor,
  type DerElement,
  der,
  derNull,
  derOid,
  derSequence,
  derSetOf,
  integerContent,
  oidText,
  openDer,
  smallInteger,
  TAG,
} from './der.ts';
import { type HashName, hashByOid, hashOid, OID, signatureByOid } from './oids.ts';
import { type Certificate, decodeCertificate } from './x509.ts';

/**
 * CMS SignedData (RFC 5652 §5), detached, without attributes: the one form that iPXE's `imgverify`, archiso's
 * `openssl cms -verify` and ours all accept. Signed attributes are refused at the door: iPXE skips
 * them, so a signature made with attributes always fails there, and what one client refuses we refuse.
 */

export interface SignerInfo {
  /** DER of the issuer's name and the serial number: how iPXE finds the signer's certificate. */
  readonly issuer: Uint8Array;
  readonly serialNumber: Uint8Array;
  readonly hash: HashName;
  readonly key: 'rsa' | 'ec';
  readonly signature: Uint8Array;
}

export interface SignedData {
  readonly certificates: readonly Certificate[];
  readonly signers: readonly SignerInfo[];
}

/** Seals are a few KiB; a chain of 16 certificates is already longer than any we issue. */
const MAX_CMS = 256 * 1024;
const MAX_CERTIFICATES = 16;
const MAX_SIGNERS = 16;

/** Decodes DER with nothing after it. Throws `Malformed`, also for content inside (not detached). */
export function decodeDetachedCms(bytes: Uint8Array): SignedData {
  if (bytes.length > MAX_CMS) throw new Malformed('CMS', `${bytes.length} bytes`);
  const contentInfo = openDer(bytes, TAG.sequence, 'ContentInfo');
  if (oidText(contentInfo.next(TAG.oid)) !== OID.signedData) throw new Malformed('CMS', 'not SignedData');
  const explicit = contentInfo.enter(contextTag(0, true), 'ContentInfo.content');
  contentInfo.end();
  const data = explicit.enter(TAG.sequence, 'SignedData');
  explicit.end();
  const version = smallInteger(data.next(TAG.integer), 'SignedData.version');
  if (version !== 1 && version !== 3) throw new Malformed('CMS', `SignedData version ${version}`);
  const hashes = digestAlgorithms(data.enter(TAG.set, 'digestAlgorithms'));
  const encapsulated = data.enter(TAG.sequence, 'encapContentInfo');
  if (oidText(encapsulated.next(TAG.oid)) !== OID.data) throw new Malformed('CMS', 'content is not data');
  // An opaque message would be verified over the bytes inside itself, and the file beside it never looked at.
  if (!encapsulated.done) throw new Malformed('CMS', 'holds its content, so it is not detached');
  const certificates = decodeCertificates(data.optional(contextTag(0, true)));
  if (data.optional(contextTag(1, true))) throw new Malformed('CMS', 'holds revocation lists');
  const infos = data.enter(TAG.set, 'signerInfos');
  data.end();
  const signers: SignerInfo[] = [];
  while (!infos.done) {
    if (signers.length === MAX_SIGNERS) throw new Malformed('CMS', `more than ${MAX_SIGNERS} signers`);
    signers.push(decodeSignerInfo(infos.enter(TAG.sequence, 'SignerInfo'), hashes));
  }
  return { certificates, signers };
}

function digestAlgorithms(set: DerCursor): ReadonlySet<HashName> {
  const hashes = new Set<HashName>();
  while (!set.done) hashes.add(digestAlgorithm(set.next(TAG.sequence)));
  return hashes;
}

export function digestAlgorithm(element: DerElement): HashName {
  const oid = plainAlgorithm(element, 'DigestAlgorithmIdentifier');
  const hash = hashByOid(oid);
  if (!hash) throw new Malformed('CMS', `unknown digest algorithm ${oid}`);
  return hash;
}

/** OID of an AlgorithmIdentifier whose parameters are absent or NULL (RFC 5754 §2 allows both). */
export function plainAlgorithm(element: DerElement, what: string): string {
  const cursor = openDer(element.raw, TAG.sequence, what);
  const oid = oidText(cursor.next(TAG.oid));
  if (!cursor.done && cursor.next(TAG.null).content.length !== 0) throw cursor.fail('NULL with content');
  cursor.end();
  return oid;
}

/** By their DER: what a thousand seals of one batch hold is decoded once. The first that came are forgotten first. */
const known = new Map<string, Certificate>();
const MOST_KNOWN = 64;

function knownCertificate(der: Uint8Array): Certificate {
  const key = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString('latin1');
  const before = known.get(key);
  if (before) return before;
  // A copy: it outlives the seal that it came in.
  const certificate = decodeCertificate(Uint8Array.from(der));
  known.set(key, certificate);
  const [oldest] = known.keys();
  if (known.size > MOST_KNOWN && oldest !== undefined) known.delete(oldest);
  return certificate;
}

export function decodeCertificates(element: DerElement | undefined): Certificate[] {
  if (!element) return [];
  const set = openDer(element.raw, contextTag(0, true), 'certificates');
  const certificates: Certificate[] = [];
  while (!set.done) {
    if (certificates.length === MAX_CERTIFICATES) {
      throw new Malformed('CMS', `more than ${MAX_CERTIFICATES} certificates`);
    }
    certificates.push(knownCertificate(set.next(TAG.sequence).raw));
  }
  return certificates;
}

function decodeSignerInfo(info: DerCursor, announced: ReadonlySet<HashName>): SignerInfo {
  const version = smallInteger(info.next(TAG.integer), 'SignerInfo.version');
  if (version !== 1) throw new Malformed('CMS', 'signer not named by issuer and serial number');
  const sid = info.enter(TAG.sequence, 'IssuerAndSerialNumber');
  const issuer = sid.next(TAG.sequence).raw;
  const serialNumber = integerContent(sid.next(TAG.integer), 'serialNumber');
  sid.end();
  const hash = digestAlgorithm(info.next(TAG.sequence));
  if (!announced.has(hash)) throw new Malformed('CMS', `digest algorithm ${hash} not announced`);
  if (info.peek() === contextTag(0, true))
    throw new Malformed('CMS', 'signed attributes, which iPXE cannot verify');
  const algorithm = plainAlgorithm(info.next(TAG.sequence), 'SignatureAlgorithmIdentifier');
  const signature = info.next(TAG.octetString).content;
  if (info.peek() === contextTag(1, true)) throw new Malformed('CMS', 'unsigned attributes');
  info.end();
  const named = signatureByOid(algorithm);
  if (algorithm !== OID.rsaEncryption && !named) {
    throw new Malformed('CMS', `unknown signature algorithm ${algorithm}`);
  }
  if (named && named.hash !== hash) throw new Malformed('CMS', 'two digest algorithms for one signature');
  return { issuer, serialNumber, hash, key: named?.key ?? 'rsa', signature };
}

/**
 * Encodes one signature as OpenSSL does for `cms -sign -binary -noattr`, byte for byte:
 * digest algorithms without parameters, rsaEncryption with NULL, certificates in DER's set order.
 */
export function encodeDetachedCms(signer: SignerInfo, certificates: readonly Uint8Array[]): Uint8Array {
  const digest = derSequence(derOid(hashOid(signer.hash)));
  const algorithm =
    signer.key === 'rsa' ? derSequence(derOid(OID.rsaEncryption), derNull()) : ecdsaAlgorithm(signer.hash);
  const one = Uint8Array.of(TAG.integer, 1, 1);
  const info = derSequence(
    one,
    derSequence(signer.issuer, der(TAG.integer, signer.serialNumber)),
    digest,
    algorithm,
    der(TAG.octetString, signer.signature),
  );
  const data = derSequence(
    one,
    derSetOf(digest),
    derSequence(derOid(OID.data)),
    ...(certificates.length > 0 ? [der(contextTag(0, true), ...certificates.toSorted(Buffer.compare))] : []),
    derSetOf(info),
  );
  return derSequence(derOid(OID.signedData), der(contextTag(0, true), data));
}

function ecdsaAlgorithm(hash: HashName): Uint8Array {
  const oid = { sha256: OID.ecdsaWithSha256, sha384: OID.ecdsaWithSha384, sha512: OID.ecdsaWithSha512 }[
    hash as 'sha256'
  ];
  if (!oid) throw new Malformed('CMS', `no ECDSA with ${hash}`);
  return derSequence(derOid(oid));
}
