import { Malformed } from '../../errors/malformed.ts';
import { definiteForm } from './ber.ts';
import { decodeCertificates, digestAlgorithm } from './cms.ts';
import { contextTag, type DerCursor, der, integerContent, oidText, openDer, TAG } from './der.ts';
import { type HashName, OID, signatureByOid } from './oids.ts';
import type { Certificate } from './x509.ts';

/**
 * CMS SignedData (RFC 5652 §5) in all the forms that `openssl cms -verify` reads: BER, signers named by key
 * identifier, signed attributes, content inside, bytes behind. Only for emulating it; what is ours is read by
 * `cms.ts`.
 */

export interface AnySigner {
  readonly name: SignerName;
  readonly hash: HashName;
  /** Whether the signature algorithm is PKCS #1 v1.5's. Of an ECDSA key openssl does not ask. */
  readonly namesRsa: boolean;
  /** Undefined: the signature is over the content itself. */
  readonly attributes: SignedAttributes | undefined;
  readonly signature: Uint8Array;
}

/** How the signer's certificate is to be found (RFC 5652 §5.3). */
export type SignerName =
  | { readonly issuer: Uint8Array; readonly serialNumber: Uint8Array }
  | { readonly subjectKeyIdentifier: Uint8Array };

export interface SignedAttributes {
  /** What the signature is over: the DER of their set. */
  readonly signed: Uint8Array;
  /** What they say the digest of the content is. */
  readonly messageDigest: Uint8Array;
}

export interface AnySignedData {
  readonly certificates: readonly Certificate[];
  readonly signers: readonly AnySigner[];
}

const MAX_CMS = 1024 * 1024;
const MAX_MEMBERS = 16;

/** Content inside is passed over: whoever verifies says which content is meant. Throws `Malformed`. */
export function decodeAnySignedData(bytes: Uint8Array): AnySignedData {
  if (bytes.length > MAX_CMS) throw new Malformed('CMS', `${bytes.length} bytes`);
  const contentInfo = openDer(definiteForm(bytes), TAG.sequence, 'ContentInfo');
  if (oidText(contentInfo.next(TAG.oid)) !== OID.signedData) throw new Malformed('CMS', 'not SignedData');
  const data = contentInfo.enter(contextTag(0, true), 'content').enter(TAG.sequence, 'SignedData');
  data.next(TAG.integer);
  const announced = new Set(members(data.enter(TAG.set, 'digestAlgorithms')).map(digestAlgorithm));
  const encapsulated = data.enter(TAG.sequence, 'encapContentInfo');
  encapsulated.next(TAG.oid);
  const inside = encapsulated.optional(contextTag(0, true));
  if (inside) openDer(inside.raw, contextTag(0, true), 'eContent').next(TAG.octetString);
  encapsulated.end();
  const certificates = data.optional(contextTag(0, true));
  if (data.optional(contextTag(1, true))) throw new Malformed('CMS', 'holds revocation lists');
  const signers = members(data.enter(TAG.set, 'signerInfos')).map(({ raw }) => decodeSigner(raw));
  const silent = signers.find(({ hash }) => !announced.has(hash));
  if (silent) throw new Malformed('CMS', `digest algorithm ${silent.hash} not announced`);
  return { certificates: decodeCertificates(certificates), signers };
}

function members(set: DerCursor) {
  const found = [];
  while (!set.done) {
    if (found.length === MAX_MEMBERS) throw set.fail(`more than ${MAX_MEMBERS} members`);
    found.push(set.next());
  }
  return found;
}

function decodeSigner(raw: Uint8Array): AnySigner {
  const info = openDer(raw, TAG.sequence, 'SignerInfo');
  info.next(TAG.integer);
  const name = signerName(info);
  const hash = digestAlgorithm(info.next(TAG.sequence));
  const attributes = info.optional(contextTag(0, true));
  const algorithm = oidText(openDer(info.next(TAG.sequence).raw, TAG.sequence, 'algorithm').next(TAG.oid));
  const signature = info.next(TAG.octetString).content;
  return {
    name,
    hash,
    // RFC 3370 §3.2: the hash may be named here once more, and openssl does not compare.
    namesRsa: algorithm === OID.rsaEncryption || signatureByOid(algorithm)?.key === 'rsa',
    attributes: attributes && decodeAttributes(attributes.content),
    signature,
  };
}

function signerName(info: DerCursor): SignerName {
  const identifier = info.optional(contextTag(0, false));
  if (identifier) return { subjectKeyIdentifier: identifier.content };
  const name = info.enter(TAG.sequence, 'IssuerAndSerialNumber');
  return {
    issuer: name.next(TAG.sequence).raw,
    serialNumber: integerContent(name.next(TAG.integer), 'serialNumber'),
  };
}

function decodeAttributes(content: Uint8Array): SignedAttributes {
  const set = der(TAG.set, content);
  const attributes = openDer(set, TAG.set, 'SignedAttributes');
  const digests: Uint8Array[] = [];
  while (!attributes.done) {
    const attribute = attributes.enter(TAG.sequence, 'Attribute');
    if (oidText(attribute.next(TAG.oid)) !== OID.messageDigest) continue;
    const values = attribute.enter(TAG.set, 'messageDigest');
    digests.push(values.next(TAG.octetString).content);
    values.end();
  }
  const [messageDigest, second] = digests;
  if (!messageDigest || second) throw new Malformed('CMS', 'signed attributes without one message digest');
  return { signed: set, messageDigest };
}
