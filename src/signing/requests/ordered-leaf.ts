import { Refusal, type RefusalCode } from '../../errors/refusal.ts';
import { type HashName, OID, signatureByOid } from '../../formats/asn1/oids.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import type { RequestedLeaf } from '../../formats/records/signing-request.ts';
import { isIssuedBy } from '../seal-plan.ts';
import { decodeOrRefuse, type OpenedRequest, oneCertificate } from './open-request.ts';
import { certificateName } from './request-files.ts';

/** Critical extensions that iPXE knows; it refuses a certificate with any other. */
const KNOWN_TO_IPXE: readonly string[] = [OID.basicConstraints, OID.keyUsage, OID.extKeyUsage];
const HASHES: readonly (string | undefined)[] = ['sha256', 'sha384', 'sha512'] satisfies HashName[];

/**
 * A release leaf as it was ordered. Issued by hand, it may be anything; what no loader takes is found here and not at a
 * boot.
 *
 * @param from the file that it is in, for messages.
 * @throws Refusal
 */
export function orderedLeaf(
  { signatories, others, manifest: { release, issued, bestBefore } }: OpenedRequest,
  { key, kind, bits }: RequestedLeaf,
  pem: Uint8Array,
  from: string,
): Certificate {
  const leaf = decodeOrRefuse(`${certificateName(key)} in ${from}`, () => oneCertificate(pem));
  const ca = others.find(({ id }) => key === `leaf-${id}`)?.signatories.ca ?? signatories.ca;
  const fail = (code: RefusalCode, why: string) =>
    new Refusal(code, `The release leaf in ${from} ${why}.`, {
      path: certificateName(key),
      commonName: leaf.commonName,
    });
  if (!isIssuedBy(leaf, ca)) throw fail('untrusted-signer', `was not issued by ${ca.commonName}`);
  const hash = signatureByOid(leaf.signatureAlgorithm)?.hash;
  if (!HASHES.includes(hash)) throw fail('weak-algorithm', `was issued with ${hash}`);
  if (leaf.commonName !== release) {
    throw fail('wrong-purpose', `is for ${leaf.commonName}, and not for ${release}`);
  }
  if (leaf.basicConstraints?.ca || !leaf.extKeyUsage?.includes(OID.codeSigning)) {
    throw fail('wrong-purpose', 'may not sign code');
  }
  if (!leaf.keyUsage?.has('digitalSignature')) throw fail('wrong-purpose', 'may not sign');
  const unknown = leaf.extensions.find(({ critical, oid }) => critical && !KNOWN_TO_IPXE.includes(oid));
  if (unknown) throw fail('wrong-purpose', `has a critical extension ${unknown.oid}, which iPXE refuses`);
  if (leaf.key.type !== (kind === 'rsa' ? 'rsa' : 'ec')) {
    throw fail('malformed', `has a key of another kind than ${kind}, which was ordered`);
  }
  if (leaf.key.bits < bits)
    throw fail('weak-algorithm', `has a key of ${leaf.key.bits} bits, not of ${bits}`);
  if (leaf.notBefore > issued) throw fail('not-yet-valid', 'begins after the release was issued');
  if (leaf.notAfter < Math.min(bestBefore, ca.notAfter))
    throw fail('expired', 'ends before the release does');
  return leaf;
}
