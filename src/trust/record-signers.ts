import { Refusal } from '../errors/refusal.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodeDetachedOpenpgp } from '../formats/openpgp/openpgp-signature.ts';
import { MAX_ORIGINAL_SIGNERS } from '../formats/records/countersignature.ts';
import { otherBootIpxe, RECORD, SEAL } from '../formats/records/seal-names.ts';
import type { Anchors } from './anchors.ts';
import { fingerprint } from './chain.ts';
import { decodeOr } from './check.ts';
import { isSignedBy } from './tree-keys.ts';

/** Who sealed the records. */
export interface StandingSigners {
  readonly manifest: Certificate;
  readonly boot: Certificate;
  /** The one that loaders trust. */
  readonly ca: Certificate;
  /** Fingerprints: of the manifest, and of `grub.cfg`. */
  readonly openpgp: Readonly<Record<'manifest' | 'script', readonly string[]>>;
  /** Boot leaves of the scripts for other CAs, by the CA's id. */
  readonly others: ReadonlyMap<string, Certificate>;
}

/** Who sealed the records of a release, which were verified by `anchors`. @param ids of other CAs. */
export function signersOf(
  records: ReadonlyMap<string, Uint8Array>,
  anchors: Anchors,
  ids: readonly string[],
): StandingSigners {
  const cms = (name: string) => {
    const data = decodeOr(name, () => decodeDetachedCms(records.get(name) ?? new Uint8Array()));
    const [info, second] = data.signers;
    if (!info || second)
      throw new Refusal('malformed', `${name} has ${data.signers.length} signers, and one is expected.`, {});
    return { ...data, by: (pool: readonly Certificate[]) => pool.find((one) => isSignedBy(info, one)) };
  };
  const bootOf = (script: string) => {
    const { certificates, by } = cms(script + SEAL.openpgp);
    const ca = certificates.find(({ raw }) => anchors.ca.some((one) => Buffer.compare(one.raw, raw) === 0));
    return { ca: named(script, ca), boot: named(script, by(certificates)) };
  };
  const openpgp = (name: string) => [
    ...new Set(
      decodeOr(name, () => decodeDetachedOpenpgp(records.get(name + SEAL.openpgp) ?? new Uint8Array())).map(
        ({ issuerFingerprint, issuerKeyId }) => issuerFingerprint ?? fingerprintOf(anchors, issuerKeyId),
      ),
    ),
  ];
  return {
    manifest: named(RECORD.manifest, cms(RECORD.manifest + SEAL.cms).by(anchors.manifest)),
    ...bootOf(RECORD.bootIpxe),
    openpgp: { manifest: openpgp(RECORD.manifest), script: openpgp(RECORD.grubCfg) },
    others: new Map(ids.map((id) => [id, bootOf(otherBootIpxe(id)).boot])),
  };
}

function fingerprintOf({ openpgp }: Anchors, keyId: string | undefined): string {
  const certificates = [...openpgp.manifest, ...openpgp.script];
  const key = certificates.flatMap(({ keys }) => keys).find(({ key: { keyId: id } }) => id === keyId);
  return key?.key.fingerprint ?? '';
}

function named(what: string, certificate: Certificate | undefined): Certificate {
  if (certificate) return certificate;
  throw new Refusal('no-verdict', `Nobody can say who sealed ${what}.`, { path: what });
}

/** All of them, for a record of provenance: SHA-256 of certificates, fingerprints of OpenPGP keys. */
export function signerFingerprints({ manifest, boot, openpgp }: StandingSigners): string[] {
  const names = [fingerprint(manifest), fingerprint(boot), ...openpgp.manifest, ...openpgp.script];
  return names.slice(0, MAX_ORIGINAL_SIGNERS);
}
