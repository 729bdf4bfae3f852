import { createHash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { decodeCertificates, digestAlgorithm, plainAlgorithm } from '../asn1/cms.ts';
import {
  contextTag,
  type DerCursor,
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
} from '../asn1/der.ts';
import { type HashName, hashOid, OID, signatureByOid } from '../asn1/oids.ts';
import type { Certificate } from '../asn1/x509.ts';
import type { PeImage } from './pe.ts';

/**
 * Authenticode (Microsoft, "Windows Authenticode Portable Executable Signature Format"), as UEFI Secure Boot reads it
 * (UEFI 2.10 §32.2.4): CMS SignedData over an SpcIndirectDataContent, which holds the digest of a PE image.
 */
export interface AuthenticodeSignature {
  /** Of the image, and how it was made. */
  readonly hash: HashName;
  readonly imageDigest: Uint8Array;
  /** Bytes of the SpcIndirectDataContent that the messageDigest attribute is over: without tag and length. */
  readonly content: Uint8Array;
  readonly certificates: readonly Certificate[];
  readonly signers: readonly AuthenticodeSigner[];
}

export interface AuthenticodeSigner {
  /** DER of the issuer's name, and the serial number. */
  readonly issuer: Uint8Array;
  readonly serialNumber: Uint8Array;
  readonly hash: HashName;
  readonly key: 'rsa' | 'ec';
  readonly messageDigest: Uint8Array;
  /** What is signed: the attributes as a SET OF (RFC 5652 §5.4). */
  readonly signed: Uint8Array;
  /** The program's name, where it says one. */
  readonly program: string | undefined;
  readonly signature: Uint8Array;
}

const FORMAT = 'Authenticode';
/** Bytes. Firmware finds the hash's name behind lengths of two bytes each. */
const MAX_SIGNATURE = 0xffff;
const MAX_SIGNERS = 16;
const IMPLICIT_0 = contextTag(0, false);
const EXPLICIT_0 = contextTag(0, true);

/**
 * The digest of an image: all of it but its checksum, the entry and the content of the certificate table; padded with
 * zeros to a multiple of eight bytes, as it is before a certificate table is put behind it.
 *
 * @param padded false: as firmware hashes an image that is not signed.
 */
export function authenticodeDigest(
  bytes: Uint8Array,
  { at, certificateTable }: PeImage,
  hash: HashName,
  padded = true,
): Uint8Array {
  const end = certificateTable?.offset ?? bytes.length;
  return createHash(hash)
    .update(bytes.subarray(0, at.checksum))
    .update(bytes.subarray(at.checksum + 4, at.certificates))
    .update(bytes.subarray(at.certificates + 8, end))
    .update(Buffer.alloc(padded ? -end & 7 : 0))
    .digest();
}

/** Says which image an SpcIndirectDataContent is about: DER. */
export function encodeIndirectData(hash: HashName, digest: Uint8Array): Uint8Array {
  // What every signing tool puts here, and nobody reads: SpcPeImageData wants a file.
  const obsolete = der(IMPLICIT_0, bmp('<<<Obsolete>>>'));
  const file = der(EXPLICIT_0, der(contextTag(2, true), obsolete));
  const flags = der(TAG.bitString, Uint8Array.of(0));
  return derSequence(
    derSequence(derOid(OID.spcPeImageData), derSequence(flags, file)),
    derSequence(derSequence(derOid(hashOid(hash)), derNull()), der(TAG.octetString, digest)),
  );
}

/** The signed attributes as a SET OF: their digest is what a key signs. The program's name is shown by some systems. */
export function authenticodeAttributes(
  hash: HashName,
  indirectData: Uint8Array,
  program: string,
): Uint8Array {
  const { content } = openElement(indirectData);
  const attribute = (oid: string, value: Uint8Array) => derSequence(derOid(oid), derSetOf(value));
  return derSetOf(
    attribute(OID.contentType, derOid(OID.spcIndirectData)),
    attribute(OID.messageDigest, der(TAG.octetString, createHash(hash).update(content).digest())),
    attribute(OID.spcOpusInfo, derSequence(der(EXPLICIT_0, der(IMPLICIT_0, bmp(program))))),
  );
}

export interface AuthenticodeParts {
  readonly hash: HashName;
  readonly indirectData: Uint8Array;
  /** From `authenticodeAttributes`. */
  readonly attributes: Uint8Array;
  readonly signer: Pick<Certificate, 'issuer' | 'serialNumber'>;
  /** RSASSA-PKCS1-v1_5 over the attributes. */
  readonly signature: Uint8Array;
  /** DER: the signer's, and what leads to an anchor. */
  readonly certificates: readonly Uint8Array[];
}

/** One signature by an RSA key, for a certificate table. */
export function encodeAuthenticode(parts: AuthenticodeParts): Uint8Array {
  const algorithm = derSequence(derOid(hashOid(parts.hash)), derNull());
  const one = Uint8Array.of(TAG.integer, 1, 1);
  const info = derSequence(
    one,
    derSequence(parts.signer.issuer, der(TAG.integer, parts.signer.serialNumber)),
    algorithm,
    der(EXPLICIT_0, openElement(parts.attributes).content),
    derSequence(derOid(OID.rsaEncryption), derNull()),
    der(TAG.octetString, parts.signature),
  );
  const data = derSequence(
    one,
    derSetOf(algorithm),
    derSequence(derOid(OID.spcIndirectData), der(EXPLICIT_0, parts.indirectData)),
    der(EXPLICIT_0, ...parts.certificates.toSorted(Buffer.compare)),
    derSetOf(info),
  );
  const signature = derSequence(derOid(OID.signedData), der(EXPLICIT_0, data));
  if (signature.length > MAX_SIGNATURE)
    throw new Malformed(FORMAT, `a signature of ${signature.length} bytes`);
  return signature;
}

/** Decodes one signature of a certificate table. Throws `Malformed`. */
export function decodeAuthenticode(bytes: Uint8Array): AuthenticodeSignature {
  if (bytes.length > MAX_SIGNATURE) throw new Malformed(FORMAT, `a signature of ${bytes.length} bytes`);
  const contentInfo = openDer(bytes, TAG.sequence, 'ContentInfo');
  if (oidText(contentInfo.next(TAG.oid)) !== OID.signedData) throw new Malformed(FORMAT, 'not SignedData');
  const explicit = contentInfo.enter(EXPLICIT_0, 'ContentInfo.content');
  contentInfo.end();
  const data = explicit.enter(TAG.sequence, 'SignedData');
  explicit.end();
  if (smallInteger(data.next(TAG.integer), 'SignedData.version') !== 1)
    throw new Malformed(FORMAT, 'SignedData of another version than 1');
  const announced = data.enter(TAG.set, 'digestAlgorithms');
  // Firmware reads the first alone, and hashes the image by it.
  const hash = digestAlgorithm(announced.next(TAG.sequence));
  announced.end();
  const encapsulated = data.enter(TAG.sequence, 'contentInfo');
  if (oidText(encapsulated.next(TAG.oid)) !== OID.spcIndirectData)
    throw new Malformed(FORMAT, 'content is not SpcIndirectData');
  const wrapper = encapsulated.enter(EXPLICIT_0, 'SpcIndirectDataContent');
  encapsulated.end();
  const { raw, content } = wrapper.next(TAG.sequence);
  wrapper.end();
  // Firmware knows a length in one byte, and one in two that follow, and nothing between.
  if (raw[1] === 0x81)
    throw new Malformed(FORMAT, 'SpcIndirectDataContent of a length that firmware cannot read');
  const imageDigest = decodeIndirectData(raw, hash);
  const certificates = decodeCertificates(data.optional(EXPLICIT_0));
  if (data.optional(contextTag(1, true))) throw new Malformed(FORMAT, 'holds revocation lists');
  const infos = data.enter(TAG.set, 'signerInfos');
  data.end();
  const signers: AuthenticodeSigner[] = [];
  while (!infos.done) {
    if (signers.length === MAX_SIGNERS) throw new Malformed(FORMAT, `more than ${MAX_SIGNERS} signers`);
    signers.push(decodeSigner(infos.enter(TAG.sequence, 'SignerInfo'), hash));
  }
  return { hash, imageDigest, content, certificates, signers };
}

function decodeIndirectData(bytes: Uint8Array, hash: HashName): Uint8Array {
  const indirect = openDer(bytes, TAG.sequence, 'SpcIndirectDataContent');
  const data = indirect.enter(TAG.sequence, 'SpcAttributeTypeAndOptionalValue');
  if (oidText(data.next(TAG.oid)) !== OID.spcPeImageData) throw new Malformed(FORMAT, 'not about a PE image');
  data.next(TAG.sequence);
  data.end();
  const info = indirect.enter(TAG.sequence, 'DigestInfo');
  indirect.end();
  if (digestAlgorithm(info.next(TAG.sequence)) !== hash) throw new Malformed(FORMAT, 'two digest algorithms');
  const digest = info.next(TAG.octetString).content;
  info.end();
  if (digest.length !== createHash(hash).digest().length)
    throw new Malformed(FORMAT, `a digest of ${digest.length} bytes`);
  return digest;
}

function decodeSigner(info: DerCursor, announced: HashName): AuthenticodeSigner {
  if (smallInteger(info.next(TAG.integer), 'SignerInfo.version') !== 1)
    throw new Malformed(FORMAT, 'signer not named by issuer and serial number');
  const sid = info.enter(TAG.sequence, 'IssuerAndSerialNumber');
  const issuer = sid.next(TAG.sequence).raw;
  const serialNumber = integerContent(sid.next(TAG.integer), 'serialNumber');
  sid.end();
  const hash = digestAlgorithm(info.next(TAG.sequence));
  if (hash !== announced) throw new Malformed(FORMAT, 'two digest algorithms');
  if (info.peek() !== EXPLICIT_0) throw new Malformed(FORMAT, 'no signed attributes');
  const attributes = info.next(EXPLICIT_0);
  const { messageDigest, program } = decodeAttributes(attributes.raw);
  const algorithm = plainAlgorithm(info.next(TAG.sequence), 'SignatureAlgorithmIdentifier');
  const signature = info.next(TAG.octetString).content;
  // Time stamps stand here. Firmware has no clock to hold them against, and reads none.
  info.optional(contextTag(1, true));
  info.end();
  const named = signatureByOid(algorithm);
  if (algorithm !== OID.rsaEncryption && !named)
    throw new Malformed(FORMAT, `unknown signature algorithm ${algorithm}`);
  if (named && named.hash !== hash) throw new Malformed(FORMAT, 'two digest algorithms for one signature');
  const signed = der(TAG.set, attributes.content);
  return { issuer, serialNumber, hash, key: named?.key ?? 'rsa', messageDigest, signed, program, signature };
}

function decodeAttributes(bytes: Uint8Array): { messageDigest: Uint8Array; program: string | undefined } {
  const attributes = openDer(bytes, EXPLICIT_0, 'SignedAttributes');
  const values = new Map<string, Uint8Array>();
  while (!attributes.done) {
    const attribute = attributes.enter(TAG.sequence, 'Attribute');
    const oid = oidText(attribute.next(TAG.oid));
    const set = attribute.enter(TAG.set, 'Attribute');
    attribute.end();
    if (values.has(oid)) throw new Malformed(FORMAT, `attribute ${oid} twice`);
    values.set(oid, set.next().raw);
    set.end();
  }
  const type = values.get(OID.contentType);
  const digest = values.get(OID.messageDigest);
  if (!type || oidText(openElement(type, TAG.oid)) !== OID.spcIndirectData)
    throw new Malformed(FORMAT, 'signed attributes of another content');
  if (!digest) throw new Malformed(FORMAT, 'no message digest among the signed attributes');
  const opus = values.get(OID.spcOpusInfo);
  return {
    messageDigest: openElement(digest, TAG.octetString).content,
    program: opus && decodeProgram(opus),
  };
}

/** SpcOpusInfo: both of its fields may be absent, and only the name is of interest. */
function decodeProgram(bytes: Uint8Array): string | undefined {
  const opus = openDer(bytes, TAG.sequence, 'SpcOpusInfo');
  const wrapper = opus.optional(EXPLICIT_0);
  if (!wrapper) return undefined;
  const choice = openDer(wrapper.raw, EXPLICIT_0, 'SpcString').next();
  const octets = Buffer.from(choice.content);
  return choice.tag === IMPLICIT_0 && octets.length % 2 === 0
    ? octets.swap16().toString('utf16le')
    : octets.toString('latin1');
}

function openElement(bytes: Uint8Array, tag = bytes[0] ?? 0) {
  const wrapped = der(TAG.sequence, bytes);
  const cursor = openDer(wrapped, TAG.sequence, FORMAT);
  const element = cursor.next(tag);
  cursor.end();
  return element;
}

/** BMPString's bytes: UTF-16, big-endian. */
function bmp(text: string): Uint8Array {
  return Buffer.from(text, 'utf16le').swap16();
}
