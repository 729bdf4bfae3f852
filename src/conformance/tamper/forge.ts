import { type KeyObject, randomBytes, sign } from 'node:crypto';
import type { Content } from '../../files/measure.ts';
import { encodeDetachedCms, type SignerInfo } from '../../formats/asn1/cms.ts';
import {
  contextTag,
  der,
  derNull,
  derOid,
  derSequence,
  derSetOf,
  openDer,
  TAG,
} from '../../formats/asn1/der.ts';
import { type HashName, hashOid, OID } from '../../formats/asn1/oids.ts';
import { signRsaDigest } from '../../formats/asn1/pkcs1.ts';
import { type Certificate, decodeCertificate } from '../../formats/asn1/x509.ts';
import { encodePacket } from '../../formats/openpgp/openpgp-packet.ts';
import {
  documentSignatureFields,
  encodeSignature,
  signatureTrailer,
} from '../../formats/openpgp/openpgp-signature.ts';
import { issueCertificate } from '../../signing/keys/certificate.ts';
import type { CertifiedKey } from '../../signing/keys/key-folder.ts';
import type { OpenpgpSecret } from '../../signing/keys/openpgp-keys.ts';
import { readProfile } from '../../signing/keys/profiles.ts';
import { certifiedSigner } from '../../signing/signatories.ts';

/** Seals as an attacker makes them: well formed, by the wrong key, or in a form that we never write. */

/** A detached CMS of the form that ours have. */
export async function sealCms(
  content: Content,
  key: CertifiedKey,
  chain: readonly Certificate[] = [],
): Promise<Uint8Array> {
  return encodeDetachedCms(
    await signerInfo(content, key),
    chain.map(({ raw }) => raw),
  );
}

export async function signerInfo(content: Content, key: CertifiedKey): Promise<SignerInfo> {
  const { answers } = await content.measure([{ kind: 'digest', hash: 'sha256' }]);
  const { issuer, serialNumber } = key.certificate;
  const { signer } = certifiedSigner('forged', key);
  const signature = await signer.sign('sha256', answers[0] as Uint8Array);
  const kind = key.privateKey.asymmetricKeyType === 'rsa' ? 'rsa' : 'ec';
  return { issuer, serialNumber, hash: 'sha256', key: kind, signature };
}

/** A detached CMS by an RSA key over a digest of yesterday. */
export async function sealSha1Cms(
  content: Content,
  { certificate, privateKey }: CertifiedKey,
  chain: readonly Certificate[] = [],
): Promise<Uint8Array> {
  const { answers } = await content.measure([{ kind: 'digest', hash: 'sha1' }]);
  const { issuer, serialNumber } = certificate;
  const signature = signRsaDigest(privateKey, 'sha1', answers[0] as Uint8Array);
  return encodeDetachedCms(
    { issuer, serialNumber, hash: 'sha1', key: 'rsa', signature },
    chain.map(({ raw }) => raw),
  );
}

/** CMS with several signers, or with its content inside, which our own encoder never writes. */
export function encodeAnyCms(
  signers: readonly SignerInfo[],
  certificates: readonly Certificate[],
  inside?: Uint8Array,
): Uint8Array {
  const digest = (hash: HashName) => derSequence(derOid(hashOid(hash)));
  const one = Uint8Array.of(TAG.integer, 1, 1);
  const infos = signers.map(({ issuer, serialNumber, hash, key, signature }) =>
    derSequence(
      one,
      derSequence(issuer, der(TAG.integer, serialNumber)),
      digest(hash),
      key === 'rsa'
        ? derSequence(derOid(OID.rsaEncryption), derNull())
        : derSequence(derOid(OID.ecdsaWithSha256)),
      der(TAG.octetString, signature),
    ),
  );
  const content = inside ? [der(contextTag(0, true), der(TAG.octetString, inside))] : [];
  const raw = certificates.map((certificate) => certificate.raw).toSorted(Buffer.compare);
  const data = derSequence(
    one,
    derSetOf(...[...new Set(signers.map(({ hash }) => hash))].map(digest)),
    derSequence(derOid(OID.data), ...content),
    ...(raw.length > 0 ? [der(contextTag(0, true), ...raw)] : []),
    derSetOf(...infos),
  );
  return derSequence(derOid(OID.signedData), der(contextTag(0, true), data));
}

export interface LeafWish {
  readonly commonName: string;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** A leaf of a CA, with a key that is already there. */
export function issueLeaf(
  ca: CertifiedKey,
  publicKey: KeyObject,
  privateKey: KeyObject,
  wish: LeafWish,
): CertifiedKey {
  const raw = issueCertificate({
    profile: readProfile('release'),
    publicKey,
    commonName: wish.commonName,
    notBefore: Math.floor(wish.notBefore / 1000) * 1000,
    notAfter: Math.floor(wish.notAfter / 1000) * 1000,
    serial: randomBytes(16),
    issuer: ca.certificate,
    issuerKey: ca.privateKey,
  });
  return { certificate: decodeCertificate(raw), privateKey };
}

/** The same leaf for a TLS server: its CA signs it once more, with another extended key usage. */
export function asTlsServer({ certificate, privateKey }: CertifiedKey, ca: CertifiedKey): CertifiedKey {
  const tbs = Buffer.from(certificate.tbs);
  const codeSigning = Buffer.from(derOid(OID.codeSigning));
  tbs.set(derOid(OID.serverAuth), tbs.indexOf(codeSigning));
  const cursor = openDer(certificate.raw, TAG.sequence, 'Certificate');
  cursor.next(TAG.sequence);
  const algorithm = cursor.next(TAG.sequence).raw;
  const signature = sign('sha256', tbs, ca.privateKey);
  const raw = derSequence(tbs, algorithm, der(TAG.bitString, Uint8Array.of(0), signature));
  return { certificate: decodeCertificate(raw), privateKey };
}

/** A detached OpenPGP signature. SHA-1 is what gpg still takes. */
export async function sealOpenpgp(
  content: Content,
  { key, privateKey }: OpenpgpSecret,
  created: number,
  hash: 'sha512' | 'sha1' = 'sha512',
): Promise<Uint8Array> {
  const fields = Buffer.from(documentSignatureFields(key.fingerprint, Math.max(created, key.created)));
  if (hash === 'sha1') fields[3] = 2;
  const { answers } = await content.measure([{ kind: 'digest', hash, suffix: signatureTrailer(fields) }]);
  const digest = answers[0] as Uint8Array;
  return encodeSignature(fields, key.keyId, digest, signRsaDigest(privateKey, hash, digest));
}

/** One-pass signature, literal data, signature: `gpg --verify` looks at the message inside, never at the file. */
export function opaqueMessage(inside: Uint8Array, seal: Uint8Array, { key }: OpenpgpSecret): Uint8Array {
  const onePass = Buffer.concat([
    Uint8Array.of(3, 0, 10, 1),
    Buffer.from(key.keyId, 'hex'),
    Uint8Array.of(1),
  ]);
  const literal = Buffer.concat([Uint8Array.of(0x62, 0, 0, 0, 0, 0), inside]);
  return Buffer.concat([encodePacket(ONE_PASS, onePass), encodePacket(LITERAL, literal), seal]);
}

/** RFC 9580 §5. */
const ONE_PASS = 4;
const LITERAL = 11;
