import { calledOf, serialText } from '../../formats/asn1/certificate-name.ts';
import { decodeDetachedCms, type SignerInfo } from '../../formats/asn1/cms.ts';
import { nameText } from '../../formats/asn1/distinguished-name.ts';
import type { Certificate } from '../../formats/asn1/x509.ts';
import { isoSeconds } from '../../formats/records/lines.ts';
import { certificateFacts, keyText } from './certificates.ts';
import type { Recognised, SealFacts } from './facts.ts';

/**
 * What a detached CMS says. Throws `Malformed`.
 *
 * @param others certificates from elsewhere that may be a signer's.
 */
export function inspectCms(bytes: Uint8Array, others: readonly Certificate[]): Recognised {
  const { signers, certificates } = decodeDetachedCms(bytes);
  const seals = signers.map((signer) => sealFacts(signer, [...certificates, ...others]));
  return {
    kind: 'cms',
    seals,
    certificates,
    facts: {
      signers: signers.map((signer, index) => ({
        signer: seals[index]?.signer,
        issuer: nameText(signer.issuer),
        serialNumber: serialText(signer.serialNumber),
        hash: signer.hash,
        key: seals[index]?.key,
        notBefore: seals[index]?.notBefore,
        notAfter: seals[index]?.notAfter,
      })),
      certificates: certificates.map(certificateFacts),
    },
  };
}

function sealFacts(signer: SignerInfo, certificates: readonly Certificate[]): SealFacts {
  const found = certificates.find(
    ({ issuer, serialNumber }) =>
      Buffer.compare(issuer, signer.issuer) === 0 && Buffer.compare(serialNumber, signer.serialNumber) === 0,
  );
  return {
    kind: 'CMS',
    signer: found ? calledOf(found) : `${serialText(signer.serialNumber)} of ${nameText(signer.issuer)}`,
    hash: signer.hash,
    key: found ? keyText(found.key) : signer.key.toUpperCase(),
    time: undefined,
    notBefore: found && isoSeconds(found.notBefore),
    notAfter: found && isoSeconds(found.notAfter),
  };
}
