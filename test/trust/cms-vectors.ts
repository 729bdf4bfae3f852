import { sign } from 'node:crypto';
import { encodeDetachedCms, type SignerInfo } from '../../src/formats/asn1/cms.ts';
import { contextTag, DerCursor, der, derOid, derSequence, openDer, TAG } from '../../src/formats/asn1/der.ts';
import { OID } from '../../src/formats/asn1/oids.ts';
import {
  CA_EXTENSIONS,
  CertificateMaker,
  type CertificateWish,
  LEAF_EXTENSIONS,
  type MadeCertificate,
} from '../fixtures/certificates.ts';
import { NOW } from '../fixtures/keys.ts';
import type { Verdict } from './judge.ts';

/** CMS seals, each with one thing about it, and what iPXE's way of verifying must say. */
export interface CmsVector {
  readonly name: string;
  readonly seal: Uint8Array;
  readonly verdict: Verdict;
  /** What openssl's `-purpose any` lets pass, and this client does not. */
  readonly opensslTakesIt?: true;
  /** Milliseconds since 1970. */
  readonly at?: number;
  /** Asked for by `imgverify --signer`. */
  readonly commonName?: string;
}

export const CONTENT = Buffer.from('the content that is sealed\n');
const OTHER = Buffer.from('other');
const DAY = 86_400_000;

export interface CmsVectors {
  readonly maker: CertificateMaker;
  readonly ca: MadeCertificate;
  readonly leaf: MadeCertificate;
  readonly vectors: readonly CmsVector[];
}

export function makeCmsVectors(folder: string): CmsVectors {
  const maker = new CertificateMaker(folder);
  const ca = maker.make({ commonName: 'CA', key: 'rsa-ca', extensions: CA_EXTENSIONS });
  const issue = (wish: Partial<CertificateWish> = {}) =>
    maker.make({ commonName: 'leaf', issuer: ca, ...wish });
  const leaf = issue();
  const second = issue({ commonName: 'second', key: 'rsa-second' });
  const expired = issue({ notBefore: NOW - 9 * DAY, notAfter: NOW - DAY });
  const young = issue({ notBefore: NOW + DAY });
  const p256 = issue({ key: 'prime256v1' });
  const ed25519 = issue({ key: 'ed25519' });
  const stranger = maker.make({ commonName: 'leaf', key: 'rsa-second' });
  const otherCa = maker.make({ commonName: 'other CA', key: 'rsa-stranger', extensions: CA_EXTENSIONS });
  const strangersCa = maker.make({ commonName: 'CA', key: 'rsa-stranger', extensions: CA_EXTENSIONS });
  const impostor = maker.make({ commonName: 'leaf', issuer: strangersCa });
  const [basic = '', usage = '', purpose = ''] = LEAF_EXTENSIONS;
  /** As `openssl cms -sign` makes them, with the CA inside, as iPXE wants it. */
  const made = (signers: MadeCertificate[], flags: string[] = [], content = CONTENT) =>
    maker.cms(content, signers, ['-noattr', '-certfile', ca.path, ...flags]);
  const seal = (...signers: MadeCertificate[]) => made(signers);
  const good = seal(leaf);
  /** Our own encoder, where openssl would not write such a thing. */
  const odd = (by: MadeCertificate, info: Partial<SignerInfo>) =>
    encodeDetachedCms(
      {
        issuer: by.certificate.issuer,
        serialNumber: by.certificate.serialNumber,
        hash: 'sha256',
        key: 'rsa',
        signature: Buffer.alloc(256),
        ...info,
      },
      [by.certificate.raw, ca.certificate.raw],
    );
  const vectors: CmsVector[] = [
    { name: 'by a leaf of the CA', seal: good, verdict: 'verified' },
    {
      name: 'with SHA-512',
      seal: made([leaf], ['-md', 'sha512']),
      verdict: 'verified',
    },
    { name: 'by an ECDSA leaf of the CA', seal: seal(p256), verdict: 'verified' },
    { name: 'by two leaves of the CA', seal: seal(leaf, second), verdict: 'verified' },
    {
      name: 'with the chain cut short',
      seal: maker.cms(CONTENT, [leaf]),
      verdict: 'untrusted-signer',
      opensslTakesIt: true,
    },

    { name: 'of other content', seal: made([leaf], [], OTHER), verdict: 'bad-signature' },
    { name: 'with its last byte changed', seal: flipped(good, -1), verdict: 'bad-signature' },
    {
      name: 'with the first byte of the signature changed',
      seal: flipped(good, -256),
      verdict: 'bad-signature',
    },
    { name: 'by ECDSA with its last byte changed', seal: flipped(seal(p256), -1), verdict: 'bad-signature' },
    {
      name: 'by ECDSA of other content',
      seal: made([p256], [], OTHER),
      verdict: 'bad-signature',
    },
    { name: 'by two, of which one is bad', seal: spoilOne(seal(leaf, second)), verdict: 'bad-signature' },
    { name: 'by nobody', seal: withSigners(good, () => []), verdict: 'bad-signature' },
    {
      name: 'by one signer named twice',
      seal: withSigners(good, ([one]) => [one, one]),
      verdict: 'malformed',
      opensslTakesIt: true,
    },
    {
      name: 'with a signature one byte short',
      seal: odd(leaf, { signature: signature(leaf).subarray(1) }),
      verdict: 'bad-signature',
    },
    {
      name: 'that calls an RSA signature ECDSA',
      seal: odd(leaf, { key: 'ec', signature: signature(leaf) }),
      verdict: 'bad-signature',
    },
    {
      name: 'that calls an ECDSA signature RSA',
      seal: odd(p256, { signature: signature(p256) }),
      verdict: 'bad-signature',
      opensslTakesIt: true,
    },
    {
      name: 'by a key that can do neither RSA nor ECDSA',
      seal: odd(ed25519, { key: 'ec', signature: Buffer.alloc(70) }),
      verdict: 'bad-signature',
    },

    {
      name: 'with signed attributes',
      seal: maker.cms(CONTENT, [leaf], []),
      verdict: 'malformed',
      opensslTakesIt: true,
    },
    {
      name: 'with its content attached',
      seal: made([leaf], ['-nodetach']),
      verdict: 'malformed',
      opensslTakesIt: true,
    },
    {
      name: 'with other content attached',
      seal: made([leaf], ['-nodetach'], OTHER),
      verdict: 'malformed',
    },
    {
      name: 'with a byte after it',
      seal: Buffer.concat([good, Uint8Array.of(0)]),
      verdict: 'malformed',
      opensslTakesIt: true,
    },
    { name: 'that is empty', seal: Buffer.alloc(0), verdict: 'malformed' },
    { name: 'that is a certificate', seal: leaf.certificate.raw, verdict: 'malformed' },

    { name: 'by a self-signed stranger', seal: seal(stranger), verdict: 'untrusted-signer' },
    {
      name: 'by a leaf of a stranger who calls himself as the CA does',
      seal: seal(impostor),
      verdict: 'bad-signature',
    },
    {
      name: 'by a leaf of a stranger, who comes along',
      seal: maker.cms(
        CONTENT,
        [maker.make({ commonName: 'leaf', issuer: otherCa })],
        ['-noattr', '-certfile', otherCa.path],
      ),
      verdict: 'untrusted-signer',
    },
    { name: 'by two, of which one is a stranger', seal: seal(leaf, stranger), verdict: 'untrusted-signer' },
    {
      name: 'without the certificate of its signer',
      seal: maker.cms(CONTENT, [leaf], ['-noattr', '-nocerts']),
      verdict: 'untrusted-signer',
    },
    { name: 'by the name that was asked for', seal: good, commonName: 'leaf', verdict: 'verified' },
    {
      name: 'by another name than was asked for',
      seal: good,
      commonName: 'arch/2026.11.01',
      verdict: 'untrusted-signer',
      opensslTakesIt: true,
    },
    {
      name: 'by a name that only begins as the one asked for',
      seal: good,
      commonName: 'lea',
      verdict: 'untrusted-signer',
      opensslTakesIt: true,
    },

    { name: 'by a leaf that has ended', seal: seal(expired), verdict: 'expired' },
    { name: 'by a leaf that has not begun', seal: seal(young), verdict: 'not-yet-valid' },
    { name: 'by a leaf, with a clock at 1970', seal: good, at: 0, verdict: 'not-yet-valid' },
    { name: 'by a leaf, with a clock ten years on', seal: good, at: NOW + 3650 * DAY, verdict: 'expired' },
    {
      name: 'that was tampered with, by a leaf that has ended',
      seal: flipped(seal(expired), -1),
      verdict: 'bad-signature',
    },

    {
      name: 'by a TLS server of the same CA',
      seal: seal(issue({ extensions: [basic, usage, 'extendedKeyUsage=serverAuth'] })),
      verdict: 'wrong-purpose',
      opensslTakesIt: true,
    },
    {
      name: 'by a leaf without a purpose',
      seal: seal(issue({ extensions: [basic, usage] })),
      verdict: 'wrong-purpose',
      opensslTakesIt: true,
    },
    {
      name: 'by a leaf for any purpose',
      seal: seal(issue({ extensions: [basic, usage, 'extendedKeyUsage=anyExtendedKeyUsage'] })),
      verdict: 'wrong-purpose',
      opensslTakesIt: true,
    },
    {
      name: 'by a leaf whose key encrypts',
      seal: seal(issue({ extensions: [basic, 'keyUsage=critical,keyEncipherment', purpose] })),
      verdict: 'wrong-purpose',
      opensslTakesIt: true,
    },
    {
      name: 'by a leaf without a key usage',
      seal: seal(issue({ extensions: [basic, purpose] })),
      verdict: 'wrong-purpose',
      opensslTakesIt: true,
    },
    {
      name: 'by a leaf with an unknown critical extension',
      seal: seal(issue({ extensions: [...LEAF_EXTENSIONS, '1.2.3.4=critical,ASN1:UTF8String:obey'] })),
      verdict: 'wrong-purpose',
    },

    {
      name: 'with SHA-1',
      seal: made([leaf], ['-md', 'sha1']),
      verdict: 'weak-algorithm',
      opensslTakesIt: true,
    },
    {
      name: 'with MD5',
      seal: made([leaf], ['-md', 'md5']),
      verdict: 'weak-algorithm',
      opensslTakesIt: true,
    },
    {
      name: 'by an RSA key of 1024 bits',
      seal: seal(issue({ key: 'rsa1024' })),
      verdict: 'weak-algorithm',
      opensslTakesIt: true,
    },
    {
      name: 'by a curve of 112 bits',
      seal: seal(issue({ key: 'secp112r1' })),
      verdict: 'weak-algorithm',
      opensslTakesIt: true,
    },
    {
      name: 'by a curve of 224 bits',
      seal: seal(issue({ key: 'secp224r1' })),
      verdict: 'weak-algorithm',
      opensslTakesIt: true,
    },
    {
      name: 'by a certificate signed with SHA-1',
      seal: seal(issue({ hash: 'sha1' })),
      verdict: 'weak-algorithm',
      opensslTakesIt: true,
    },
  ];
  return { maker, ca, leaf, vectors };
}

function signature(made: MadeCertificate): Buffer {
  return sign('sha256', CONTENT, made.privateKey);
}

export function flipped(bytes: Uint8Array, at: number): Buffer {
  const changed = Buffer.from(bytes);
  const index = at < 0 ? bytes.length + at : at;
  changed[index] = (changed[index] ?? 0) ^ 0x01;
  return changed;
}

type Infos = readonly (Uint8Array | undefined)[];

/** A CMS with its SignerInfos replaced. */
function withSigners(cms: Uint8Array, change: (infos: Infos) => Infos): Uint8Array {
  const outer = openDer(cms, TAG.sequence, 'ContentInfo');
  outer.next();
  const data = openDer(outer.next(contextTag(0, true)).content, TAG.sequence, 'SignedData');
  const fields: Uint8Array[] = [];
  while (data.peek() !== TAG.set || fields.length < 3) fields.push(data.next().raw);
  const set = new DerCursor(data.next(TAG.set).content, 'signerInfos');
  const infos: Uint8Array[] = [];
  while (!set.done) infos.push(set.next().raw);
  const changed = change(infos).flatMap((info) => (info ? [info] : []));
  const inner = derSequence(...fields, der(TAG.set, ...changed));
  return derSequence(derOid(OID.signedData), der(contextTag(0, true), inner));
}

function spoilOne(cms: Uint8Array): Uint8Array {
  return withSigners(cms, ([first, second]) => [first, second && flipped(second, -1)]);
}
