import { createHash, type KeyObject, sign } from 'node:crypto';
import forge from 'node-forge';
import { OID } from '../../formats/asn1/oids.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import type { Profile } from './profiles.ts';

/** Certificates (RFC 5280), assembled with forge's ASN.1 writer and signed by node:crypto. */

export interface CertificateTerms {
  readonly profile: Profile;
  readonly commonName: string;
  readonly publicKey: KeyObject;
  /** Milliseconds since 1970, whole seconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  /** 16 random bytes. */
  readonly serial: Uint8Array;
  /** Absent: self-signed. */
  readonly issuer?: Certificate;
}

/** A certificate that lacks nothing but its issuer's signature, with SHA-256, over `tbs`. */
export interface UnsignedCertificate {
  readonly tbs: Uint8Array;
  /** The certificate's DER. ECDSA signatures are DER, too. */
  certificate(signature: Uint8Array): Uint8Array;
}

const { asn1 } = forge;
const { Class, Type } = asn1;

/** Issues a certificate with a key at hand, its own where there is no issuer: its DER. */
export function issueCertificate(terms: CertificateTerms & { readonly issuerKey: KeyObject }): Uint8Array {
  const { tbs, certificate } = draftCertificate(terms);
  return certificate(sign('sha256', tbs, terms.issuerKey));
}

export function draftCertificate(terms: CertificateTerms): UnsignedCertificate {
  const { profile, publicKey, issuer } = terms;
  const signing = issuer?.key.object ?? publicKey;
  // sha256WithRSAEncryption takes NULL parameters, ecdsa-with-SHA256 none (RFC 4055 §5, RFC 5758 §3.2).
  const algorithm =
    signing.asymmetricKeyType === 'rsa'
      ? sequence(oid(OID.sha256WithRsa), node(Type.NULL, ''))
      : sequence(oid(OID.ecdsaWithSha256));
  const serial = Buffer.from(terms.serial);
  // Positive and of constant length: some readers choke on the sign byte.
  serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40;
  const tbs = sequence(
    context(0, true, [integer(2)]),
    node(Type.INTEGER, serial.toString('binary')),
    algorithm,
    issuer ? copy(issuer.subject) : name(terms.commonName),
    sequence(time(terms.notBefore), time(terms.notAfter)),
    name(terms.commonName),
    spki(publicKey),
    context(3, true, [sequence(...extensions(profile, publicKey, signing))]),
  );
  return {
    tbs: octets(tbs),
    certificate: (signature) =>
      octets(
        sequence(tbs, algorithm, node(Type.BITSTRING, `\0${Buffer.from(signature).toString('binary')}`)),
      ),
  };
}

function octets(tree: forge.asn1.Asn1): Uint8Array {
  return Buffer.from(asn1.toDer(tree).getBytes(), 'binary');
}

function extensions(profile: Profile, publicKey: KeyObject, issuerKey: KeyObject): forge.asn1.Asn1[] {
  const usage =
    (profile.key_usage.includes('digitalSignature') ? 0x80 : 0) |
    (profile.key_usage.includes('keyCertSign') ? 0x04 : 0);
  // DER: as many unused bits as the last byte has trailing zeros.
  const unused = 31 - Math.clz32(usage & -usage);
  const constraints = profile.ca
    ? [bool(true), ...(profile.path_length === undefined ? [] : [integer(profile.path_length)])]
    : [];
  return [
    extension(OID.basicConstraints, true, sequence(...constraints)),
    extension(OID.keyUsage, true, node(Type.BITSTRING, String.fromCharCode(unused, usage))),
    ...(profile.ext_key_usage.length > 0
      ? [extension(OID.extKeyUsage, true, sequence(...profile.ext_key_usage.map(() => oid(OID.codeSigning))))]
      : []),
    extension(OID.subjectKeyIdentifier, false, node(Type.OCTETSTRING, keyIdentifier(publicKey))),
    extension(OID.authorityKeyIdentifier, false, sequence(context(0, false, keyIdentifier(issuerKey)))),
  ];
}

/** RFC 5280 §4.2.1.2, method 1: SHA-1 of the subjectPublicKey bits. */
function keyIdentifier(key: KeyObject): string {
  const [, bits] = spki(key).value as forge.asn1.Asn1[];
  const value = Buffer.from(String((bits as unknown as { value: string }).value), 'binary');
  return createHash('sha1').update(value.subarray(1)).digest().toString('binary');
}

function spki(key: KeyObject): forge.asn1.Asn1 {
  return copy(key.export({ format: 'der', type: 'spki' }));
}

/** DER as it is: an issuer's name must stand in its leaves byte for byte, or nobody finds it. */
function copy(der: Uint8Array): forge.asn1.Asn1 {
  const buffer = forge.util.createBuffer(Buffer.from(der).toString('binary'));
  return asn1.fromDer(buffer, { decodeBitStrings: false } as never);
}

function name(commonName: string): forge.asn1.Asn1 {
  const value = asn1.create(Class.UNIVERSAL, Type.UTF8, false, forge.util.encodeUtf8(commonName));
  return sequence(node(Type.SET, [sequence(oid(OID.commonName), value)]));
}

/** UTCTime through 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5). */
function time(at: number): forge.asn1.Asn1 {
  const date = new Date(at);
  return date.getUTCFullYear() < 2050
    ? node(Type.UTCTIME, asn1.dateToUtcTime(date) as string)
    : node(Type.GENERALIZEDTIME, asn1.dateToGeneralizedTime(date) as string);
}

function extension(id: string, critical: boolean, value: forge.asn1.Asn1): forge.asn1.Asn1 {
  const wrapped = node(Type.OCTETSTRING, asn1.toDer(value).getBytes());
  return sequence(oid(id), ...(critical ? [bool(true)] : []), wrapped);
}

function node(type: forge.asn1.Type, value: string | forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return asn1.create(Class.UNIVERSAL, type, typeof value !== 'string', value);
}

function sequence(...children: forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return node(Type.SEQUENCE, children);
}

function context(number: number, constructed: boolean, value: string | forge.asn1.Asn1[]): forge.asn1.Asn1 {
  return asn1.create(Class.CONTEXT_SPECIFIC, number, constructed, value);
}

function oid(text: string): forge.asn1.Asn1 {
  return node(Type.OID, asn1.oidToDer(text).getBytes());
}

function integer(value: number): forge.asn1.Asn1 {
  return node(Type.INTEGER, asn1.integerToDer(value).getBytes());
}

function bool(value: boolean): forge.asn1.Asn1 {
  return node(Type.BOOLEAN, String.fromCharCode(value ? 0xff : 0));
}
