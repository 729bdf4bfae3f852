import { Refusal } from '../../errors/refusal.ts';
import { calledOf } from '../../formats/asn1/certificate-name.ts';
import { nameText } from '../../formats/asn1/distinguished-name.ts';
import { OID, signatureByOid } from '../../formats/asn1/oids.ts';
import type { Certificate, KeyUsage } from '../../formats/asn1/x509.ts';
import { unknownCritical } from '../../trust/chain.ts';
import { defaultPolicy, demandStrong } from '../../trust/policy.ts';
import { isIssuedBy } from '../seal-plan.ts';

/**
 * What a certificate must be for something to be sealed with it: what every client that looks at the seal will ask.
 * Better no seal than one that is refused on every machine.
 */

/** Refuses a certificate that may not sign this, or not now, or was not issued by this CA. */
export function demandSuitable(
  path: string,
  certificate: Certificate,
  now: number | undefined,
  usage: KeyUsage,
  issuer?: Certificate,
): void {
  demandPurpose(path, certificate, now, usage);
  const unknown = unknownCritical(certificate);
  if (unknown) {
    throw new Refusal(
      'wrong-purpose',
      `${path} has a critical extension (${unknown.oid}) that iPXE and Bootseal do not know; have it issued without.`,
      { path, oid: unknown.oid },
    );
  }
  if (usage !== 'keyCertSign') demandSigningKind(path, certificate);
  if (now !== undefined)
    demandStrong(defaultPolicy(now), `A signature of ${path}`, 'sha256', certificate.key);
  if (issuer && Buffer.compare(certificate.issuer, issuer.subject) !== 0) {
    const alike = nameText(certificate.issuer) === nameText(issuer.subject);
    const hint = '; the names read alike and are encoded in another way, and iPXE compares them byte by byte';
    throw new Refusal(
      'untrusted-signer',
      `${path} was issued by ${certificate.issuerName}, not by ${calledOf(issuer)}${alike ? hint : ''}.`,
      { path },
    );
  }
  const algorithm = issuer && signatureByOid(certificate.signatureAlgorithm);
  if (issuer && !algorithm) {
    throw new Refusal(
      'weak-algorithm',
      `${path} is signed with an algorithm (${certificate.signatureAlgorithm}) that Bootseal does not know.`,
      { path, oid: certificate.signatureAlgorithm },
    );
  }
  if (issuer && algorithm && now !== undefined) {
    demandStrong(defaultPolicy(now), `The signature on ${path}`, algorithm.hash, issuer.key);
  }
  // Two runs of init give two CAs of one name.
  if (issuer && !isIssuedBy(certificate, issuer)) {
    throw new Refusal(
      'untrusted-signer',
      `${path} was not signed by the ca.crt beside it, but by another CA of the same name.`,
      { path },
    );
  }
}

/** @throws Refusal `unsafe-keys` for a certificate of a key that Bootseal cannot sign with. */
export function demandSigningKind(path: string, { key }: Certificate): void {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key.object;
  if (type === 'rsa' || details?.namedCurve === 'prime256v1') return;
  throw new Refusal(
    'unsafe-keys',
    `${path} is of a key (${details?.namedCurve ?? type}) that is neither RSA nor ECDSA on P-256; make one of these.`,
    { path },
  );
}

/** Loaders ask for the boot leaf by its name. @throws Refusal `wrong-purpose` */
export function demandCommonName(path: string, { commonName }: Certificate): void {
  if (commonName !== '') return;
  throw new Refusal(
    'wrong-purpose',
    `${path} has no common name, by which loaders know the boot leaf; have one issued with a name, such as CN=boot.SITE.`,
    { path },
  );
}

/**
 * @param below CAs between this one and the leaves.
 * @throws Refusal `wrong-purpose`
 */
export function demandLength(path: string, issuer: Certificate, below: number): void {
  const { pathLength } = issuer.basicConstraints ?? {};
  if (pathLength === undefined || below <= pathLength) return;
  throw new Refusal(
    'wrong-purpose',
    `${path} allows ${pathLength} CAs below ${calledOf(issuer)}, and there are ${below}.`,
    { path },
  );
}

function demandPurpose(
  path: string,
  certificate: Certificate,
  now: number | undefined,
  usage: KeyUsage,
): void {
  if (now !== undefined) demandInTime(path, certificate, now);
  const lacks = usage === 'keyCertSign' ? issuerLacks(certificate) : signerLacks(certificate, usage);
  if (lacks === undefined) return;
  throw new Refusal('wrong-purpose', `${path} lacks ${lacks.said}.`, { path, lacks: lacks.name });
}

/** What iPXE asks of whoever signs; an extension that is absent grants nothing. */
function signerLacks({ keyUsage, extKeyUsage }: Certificate, usage: KeyUsage) {
  if (!keyUsage?.has(usage)) return { name: usage, said: `the key usage ${usage}` };
  return extKeyUsage?.includes(OID.codeSigning) ? undefined : NOT_FOR_CODE;
}

/** Of a CA, an extension that is absent restricts nothing (RFC 5280 §4.2.1.3, §4.2.1.12), for iPXE too. */
function issuerLacks({ basicConstraints, keyUsage, extKeyUsage }: Certificate) {
  if (keyUsage && !keyUsage.has('keyCertSign')) {
    return { name: 'keyCertSign', said: 'the key usage keyCertSign' };
  }
  if (!basicConstraints?.ca) return { name: 'CA:TRUE', said: 'the basic constraint CA:TRUE' };
  const forCode = [OID.codeSigning, OID.anyExtendedKeyUsage].some((oid) => extKeyUsage?.includes(oid));
  return extKeyUsage && !forCode ? NOT_FOR_CODE : undefined;
}

const NOT_FOR_CODE = { name: 'codeSigning', said: 'the extended key usage codeSigning' };

function demandInTime(path: string, certificate: Certificate, now: number): void {
  const day = (time: number) => new Date(time).toISOString().slice(0, 10);
  if (now > certificate.notAfter) {
    throw new Refusal(
      'expired',
      `${path} ended on ${day(certificate.notAfter)}; nothing is sealed with it.`,
      {
        path,
        notAfter: day(certificate.notAfter),
      },
    );
  }
  if (now < certificate.notBefore) {
    throw new Refusal(
      'not-yet-valid',
      `${path} begins on ${day(certificate.notBefore)}, and this machine's clock says ${day(now)}.`,
      { path, notBefore: day(certificate.notBefore) },
    );
  }
}
