import { createHash } from 'node:crypto';
import { serialText } from '../../formats/asn1/certificate-name.ts';
import { nameText } from '../../formats/asn1/distinguished-name.ts';
import { OID, signatureByOid } from '../../formats/asn1/oids.ts';
import type { Certificate, CertificateKey } from '../../formats/asn1/x509.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import type { Facts } from './facts.ts';

const PURPOSES: ReadonlyMap<string, string> = new Map([
  [OID.codeSigning, 'codeSigning'],
  [OID.serverAuth, 'serverAuth'],
]);
/** Context tags of a GeneralName (RFC 5280 §4.2.1.6) that are plain text. */
const TEXT_NAMES: ReadonlyMap<number, string> = new Map([
  [0x81, 'email'],
  [0x82, 'DNS'],
  [0x86, 'URI'],
]);

/** What a certificate says. Throws `Malformed` where one of its names is none. */
export function certificateFacts(certificate: Certificate): Facts {
  const { keyUsage, extKeyUsage, basicConstraints, subjectKeyIdentifier, alternativeNames } = certificate;
  const known = signatureByOid(certificate.signatureAlgorithm);
  return {
    subject: nameText(certificate.subject),
    issuer: nameText(certificate.issuer),
    serialNumber: serialText(certificate.serialNumber),
    notBefore: isoSeconds(certificate.notBefore),
    notAfter: isoSeconds(certificate.notAfter),
    key: keyText(certificate.key),
    signatureAlgorithm: known
      ? `${known.key === 'rsa' ? 'RSA' : 'ECDSA'} with ${known.hash}`
      : certificate.signatureAlgorithm,
    certificateAuthority: basicConstraints?.ca ?? false,
    pathLength: basicConstraints?.pathLength,
    keyUsage: keyUsage && [...keyUsage],
    extendedKeyUsage: extKeyUsage?.map((oid) => PURPOSES.get(oid) ?? oid),
    alternativeNames:
      alternativeNames.length === 0
        ? undefined
        : alternativeNames.map(({ tag, content }) => {
            const type = TEXT_NAMES.get(tag);
            return type === undefined ? `[${tag & 0x1f}] ${hex(content)}` : `${type}:${text(content)}`;
          }),
    subjectKeyIdentifier: subjectKeyIdentifier && hex(subjectKeyIdentifier),
    sha256: createHash('sha256').update(certificate.raw).digest('hex'),
  };
}

/** `RSA 2048`, `EC 256`, `ED25519`. */
export function keyText({ type, bits, object }: CertificateKey): string {
  if (type === 'other') return (object.asymmetricKeyType ?? 'unknown').toUpperCase();
  return bits === 0 ? type.toUpperCase() : `${type.toUpperCase()} ${bits}`;
}

export function hex(octets: Uint8Array): string {
  return Buffer.from(octets).toString('hex');
}

function text(octets: Uint8Array): string {
  return Buffer.from(octets).toString('utf8');
}
