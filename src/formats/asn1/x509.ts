import { createPublicKey, type KeyObject } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import {
  bitStringOctets,
  contextTag,
  DerCursor,
  type DerElement,
  derTime,
  integerContent,
  oidText,
  openDer,
  smallInteger,
  TAG,
} from './der.ts';
import { OID } from './oids.ts';

/** X.509 certificates (RFC 5280 §4): the fields a verifier of code signatures judges. */
export interface Certificate {
  /** The whole certificate. */
  readonly raw: Uint8Array;
  /** What the issuer signed. */
  readonly tbs: Uint8Array;
  /**
   * Content bytes of its INTEGER. CAs gave some that are longer than they ought to be, zero or negative, which
   * everybody takes (RFC 5280 §4.1.2.2).
   */
  readonly serialNumber: Uint8Array;
  /** DER of the names: compared byte by byte, as iPXE and OpenSSL find certificates. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly issuerName: string;
  /** The one CN of the subject; empty where it has none. */
  readonly commonName: string;
  /** Of subjectAltName, as they are encoded: context tags (RFC 5280 §4.2.1.6) and contents. */
  readonly alternativeNames: readonly Pick<DerElement, 'tag' | 'content'>[];
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** DER of SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
  readonly key: CertificateKey;
  readonly extensions: readonly Extension[];
  readonly keyUsage: ReadonlySet<KeyUsage> | undefined;
  readonly extKeyUsage: readonly string[] | undefined;
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined;
  readonly subjectKeyIdentifier: Uint8Array | undefined;
  /** Dotted OID. */
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
}

export interface CertificateKey {
  readonly type: 'rsa' | 'ec' | 'other';
  /** Length of the RSA modulus or of the curve's field. */
  readonly bits: number;
  readonly object: KeyObject;
}

export interface Extension {
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Uint8Array;
}

/** Bits of keyUsage in their order (RFC 5280 §4.2.1.3). */
const KEY_USAGES = [
  'digitalSignature',
  'nonRepudiation',
  'keyEncipherment',
  'dataEncipherment',
  'keyAgreement',
  'keyCertSign',
  'cRLSign',
  'encipherOnly',
  'decipherOnly',
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

/** A certificate with 64 KiB of names and extensions is no certificate we want to meet. */
const MAX_CERTIFICATE = 64 * 1024;

/** Decodes one DER certificate with nothing after it. Throws `Malformed`. */
export function decodeCertificate(bytes: Uint8Array): Certificate {
  if (bytes.length > MAX_CERTIFICATE) throw new Malformed('X.509', `certificate of ${bytes.length} bytes`);
  const outer = openDer(bytes, TAG.sequence, 'Certificate');
  const tbsElement = outer.next(TAG.sequence);
  const algorithm = outer.next(TAG.sequence);
  const signature = bitStringOctets(outer.next(TAG.bitString), 'signatureValue');
  outer.end();

  const tbs = openDer(tbsElement.raw, TAG.sequence, 'TBSCertificate');
  const version = tbs.optional(contextTag(0, true));
  const versionNumber = version ? smallInteger(only(version.content, TAG.integer, 'version'), 'version') : 0;
  // Extensions, and with them every purpose we judge by, exist in version 3 only.
  if (versionNumber !== 2) throw new Malformed('X.509', `certificate version ${versionNumber + 1}, not 3`);
  const serialNumber = integerContent(tbs.next(TAG.integer), 'serialNumber');
  const inner = tbs.next(TAG.sequence);
  // RFC 5280 §4.1.1.2: both copies must agree; only the inner one is signed.
  if (Buffer.compare(inner.raw, algorithm.raw) !== 0)
    throw new Malformed('X.509', 'two signature algorithms');
  const issuer = tbs.next(TAG.sequence).raw;
  const validity = tbs.enter(TAG.sequence, 'Validity');
  const notBefore = derTime(validity.next());
  const notAfter = derTime(validity.next());
  validity.end();
  const subject = tbs.next(TAG.sequence).raw;
  const spki = tbs.next(TAG.sequence).raw;
  tbs.optional(contextTag(1, false));
  tbs.optional(contextTag(2, false));
  const extensionsElement = tbs.optional(contextTag(3, true));
  tbs.end();
  const extensions = extensionsElement ? decodeExtensions(extensionsElement) : [];
  const value = (oid: string) => extensions.find((extension) => extension.oid === oid)?.value;

  return {
    raw: bytes,
    tbs: tbsElement.raw,
    serialNumber,
    issuer,
    subject,
    issuerName: commonName(issuer),
    commonName: commonName(subject),
    alternativeNames: decodeAlternativeNames(value(OID.subjectAltName)),
    notBefore,
    notAfter,
    spki,
    key: decodeKey(spki),
    extensions,
    keyUsage: decodeKeyUsage(value(OID.keyUsage)),
    extKeyUsage: decodeExtKeyUsage(value(OID.extKeyUsage)),
    basicConstraints: decodeBasicConstraints(value(OID.basicConstraints)),
    subjectKeyIdentifier: decodeSubjectKeyIdentifier(value(OID.subjectKeyIdentifier)),
    signatureAlgorithm: algorithmOid(algorithm),
    signature,
  };
}

/** OID of an AlgorithmIdentifier; its parameters must be absent or NULL. */
function algorithmOid(element: DerElement): string {
  const cursor = openDer(element.raw, TAG.sequence, 'AlgorithmIdentifier');
  const oid = oidText(cursor.next(TAG.oid));
  if (oid === OID.rsassaPss) {
    throw new Malformed(
      'X.509',
      'signed with RSASSA-PSS, which iPXE does not know; have it signed with PKCS #1 v1.5',
    );
  }
  if (!cursor.done && cursor.next(TAG.null).content.length !== 0) throw cursor.fail('NULL with content');
  cursor.end();
  return oid;
}

/** The CN. Of several iPXE takes the first, and OpenSSL shows the last: nobody is called two names here. */
function commonName(name: Uint8Array): string {
  const rdns = openDer(name, TAG.sequence, 'Name');
  let found: string | undefined;
  while (!rdns.done) {
    const rdn = rdns.enter(TAG.set, 'RelativeDistinguishedName');
    for (let first = true; !rdn.done; first = false) {
      const attribute = rdn.enter(TAG.sequence, 'AttributeTypeAndValue');
      const type = oidText(attribute.next(TAG.oid));
      const value = attribute.next();
      attribute.end();
      if (type !== OID.commonName) continue;
      if (found !== undefined) throw rdn.fail('a second common name');
      // Of a set with several attributes iPXE sees the first alone.
      if (!first) throw rdn.fail('a common name behind another attribute');
      found = Buffer.from(value.content).toString('utf8');
    }
  }
  return found ?? '';
}

function decodeAlternativeNames(value: Uint8Array | undefined): Certificate['alternativeNames'] {
  if (!value) return [];
  const list = openDer(value, TAG.sequence, 'subjectAltName');
  const names: Pick<DerElement, 'tag' | 'content'>[] = [];
  while (!list.done) {
    const { tag, content } = list.next();
    names.push({ tag, content });
  }
  return names;
}

function decodeExtensions(element: DerElement): Extension[] {
  const wrapper = openDer(element.raw, contextTag(3, true), 'Extensions');
  const list = wrapper.enter(TAG.sequence, 'Extensions');
  wrapper.end();
  const extensions: Extension[] = [];
  while (!list.done) {
    const cursor = list.enter(TAG.sequence, 'Extension');
    const oid = oidText(cursor.next(TAG.oid));
    const critical = isTrue(cursor);
    const value = cursor.next(TAG.octetString).content;
    cursor.end();
    // RFC 5280 §4.2: a second one would let two readers see two purposes.
    if (extensions.some((extension) => extension.oid === oid)) throw list.fail(`extension ${oid} twice`);
    extensions.push({ oid, critical, value });
  }
  return extensions;
}

/** BOOLEAN DEFAULT FALSE. DER: TRUE is 0xff, and the default is not written. */
function isTrue(cursor: DerCursor): boolean {
  const element = cursor.optional(TAG.boolean);
  if (element && (element.content.length !== 1 || element.content[0] !== 0xff)) {
    throw cursor.fail('BOOLEAN not in DER');
  }
  return element !== undefined;
}

function decodeKeyUsage(value: Uint8Array | undefined): ReadonlySet<KeyUsage> | undefined {
  if (!value) return undefined;
  const outer = only(value, TAG.bitString, 'keyUsage');
  const unused = outer.content[0];
  if (unused === undefined || unused > 7 || outer.content.length > 3) {
    throw new Malformed('X.509', 'keyUsage is no BIT STRING');
  }
  const usages = new Set<KeyUsage>();
  for (const [index, usage] of KEY_USAGES.entries()) {
    const octet = outer.content[1 + (index >> 3)] ?? 0;
    if (octet & (0x80 >> (index & 7))) usages.add(usage);
  }
  return usages;
}

function decodeExtKeyUsage(value: Uint8Array | undefined): readonly string[] | undefined {
  if (!value) return undefined;
  const list = openDer(value, TAG.sequence, 'extKeyUsage');
  const purposes: string[] = [];
  while (!list.done) purposes.push(oidText(list.next(TAG.oid)));
  return purposes;
}

function decodeBasicConstraints(value: Uint8Array | undefined): Certificate['basicConstraints'] {
  if (!value) return undefined;
  const cursor = openDer(value, TAG.sequence, 'basicConstraints');
  const ca = isTrue(cursor);
  const length = cursor.optional(TAG.integer);
  cursor.end();
  return { ca, pathLength: length ? smallInteger(length, 'pathLenConstraint') : undefined };
}

function decodeSubjectKeyIdentifier(value: Uint8Array | undefined): Uint8Array | undefined {
  return value ? only(value, TAG.octetString, 'subjectKeyIdentifier').content : undefined;
}

function only(bytes: Uint8Array, tag: number, what: string): DerElement {
  const cursor = new DerCursor(bytes, what);
  const element = cursor.next(tag);
  cursor.end();
  return element;
}

function decodeKey(spki: Uint8Array): CertificateKey {
  let object: KeyObject;
  try {
    // RFC 5480 §2.1.1: a curve has a name. OpenSSL takes no certificate that spells its numbers out.
    const algorithm = openDer(spki, TAG.sequence, 'SubjectPublicKeyInfo').enter(TAG.sequence, 'algorithm');
    const isCurve = oidText(algorithm.next(TAG.oid)) === OID.ecPublicKey;
    if (isCurve && algorithm.next().tag !== TAG.oid) throw new Malformed('X.509', 'a curve without a name');
    object = createPublicKey({ key: Buffer.from(spki), format: 'der', type: 'spki' });
  } catch (error) {
    if (error instanceof Malformed) throw error;
    throw new Malformed('X.509', `public key: ${(error as Error).message}`);
  }
  const details = object.asymmetricKeyDetails;
  if (object.asymmetricKeyType === 'rsa') return { type: 'rsa', bits: details?.modulusLength ?? 0, object };
  if (object.asymmetricKeyType === 'ec') {
    const bits = { prime256v1: 256, secp384r1: 384, secp521r1: 521 }[details?.namedCurve ?? ''] ?? 0;
    return { type: 'ec', bits, object };
  }
  return { type: 'other', bits: 0, object };
}
