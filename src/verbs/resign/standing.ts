import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeDetachedCms } from '../../formats/cms.ts';
import { MAX_ORIGINAL_SIGNERS } from '../../formats/countersignature.ts';
import type { Manifest, ManifestFile } from '../../formats/manifest.ts';
import { decodeDetachedOpenpgp } from '../../formats/openpgp-signature.ts';
import type { Certificate } from '../../formats/x509.ts';
import { Refusal } from '../../release/refusal.ts';
import { checksumPath, otherBootIpxe, otherCaOf, RECORD, SEAL, VERITY } from '../../release/seal-names.ts';
import { payloadSeals } from '../../signing/seal-keys.ts';
import { readExisting } from '../../signing/tree-draft.ts';
import { readAnchorFolder } from '../../store/anchor-folder.ts';
import { readSelfAnchor } from '../../store/self-anchor.ts';
import { verifyRecords } from '../../store/verify-tree.ts';
import { type Anchors, anchorId } from '../../trust/anchors.ts';
import { fingerprint } from '../../trust/chain.ts';
import { decodeOr } from '../../trust/check.ts';
import type { Policy } from '../../trust/policy.ts';
import { demandAllAnchors } from '../judge-tree.ts';
import { refusedLine } from '../script-lines.ts';
import { isSignedBy } from '../tree-keys.ts';

/** Everybody whose seals count: anchors of several folders, those of replaced keys among them. */
export interface Trusted {
  readonly folders: readonly Anchors[];
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A sealed release as it stands, its records verified. Its payload was looked at from outside only. */
export interface Standing {
  readonly folder: string;
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  /** Every record and seal, by path. */
  readonly small: ReadonlyMap<string, Uint8Array>;
  readonly signers: StandingSigners;
}

/** Who sealed the records. */
export interface StandingSigners {
  readonly codesign: Certificate;
  readonly boot: Certificate;
  readonly ca: Certificate;
  /** Fingerprints. */
  readonly openpgp: readonly string[];
  /** Boot leaves of the scripts for other CAs, by the CA's id. */
  readonly others: ReadonlyMap<string, Certificate>;
}

/** Reads anchors that count together: of one site before and after a rotation, of several sites. */
export async function readTrusted(folders: readonly string[], policy: Policy, now: number): Promise<Trusted> {
  const read: Anchors[] = [];
  for (const folder of new Set(folders)) {
    const anchors = await readAnchorFolder(folder);
    demandAllAnchors(folder, anchors);
    read.push(anchors);
  }
  return { folders: read, policy, now };
}

/** All of them as one. @param bootSigner the name that `boot.ipxe` is by. */
export function pooled({ folders }: Trusted, bootSigner: string | undefined): Anchors {
  return {
    ca: folders.flatMap(({ ca }) => ca),
    codesign: folders.flatMap(({ codesign }) => codesign),
    openpgp: folders.flatMap(({ openpgp }) => openpgp),
    bootSigner,
  };
}

/**
 * Verifies the records of a release by anchors of the pool, and says who sealed them. No file of the payload is
 * opened: its digests are what the verified manifest says, and its sizes are compared.
 *
 * @throws Refusal with the reason of the first seal that does not hold.
 */
export async function readStanding(folder: string, trusted: Trusted): Promise<Standing> {
  const { policy, now } = trusted;
  // 1. Which site's name `boot.ipxe` bears decides nothing: whoever it names must be one of ours.
  const { bootSigner } = await readSelfAnchor(folder);
  const known = trusted.folders.some((anchors) => anchors.bootSigner === bootSigner);
  const anchors = pooled(trusted, known ? bootSigner : trusted.folders[0]?.bootSigner);
  const ids = (await readdir(folder)).flatMap((name) => otherCaOf(name) ?? []).sort();
  const others = ids.map((id) => otherAnchors(id, trusted));
  // 2. Every record by its seal, and each names the manifest.
  const verdict = await verifyRecords(folder, anchors, { policy, now, others });
  if (verdict.refusal) throw verdict.refusal;
  const { manifest, manifestSha256 } = verdict;
  if (!manifest) throw new Refusal('no-verdict', `Nothing vouches for ${folder}.`, { path: folder });
  const line = refusedLine(verdict.small, manifest, manifestSha256);
  if (line) throw line;
  // 3. The payload is there, and nothing of it is read.
  const small = new Map(verdict.small);
  for (const file of manifest.files) await addSeals(folder, file, ids, small);
  return { folder, manifest, manifestSha256, small, signers: signersOf(small, anchors, ids) };
}

function otherAnchors(id: string, { folders }: Trusted): Anchors {
  for (const anchors of folders) {
    const ca = anchors.ca.find((candidate) => anchorId(candidate) === id);
    if (ca) return { ...anchors, ca: [ca] };
  }
  const path = otherBootIpxe(id);
  throw new Refusal('untrusted-signer', `${path} is for the loaders of a CA that is none of the anchors.`, {
    path,
  });
}

async function addSeals(
  folder: string,
  { role, path, size }: ManifestFile,
  ids: readonly string[],
  small: Map<string, Uint8Array>,
): Promise<void> {
  const stat = await lstat(join(folder, path)).catch(() => undefined);
  if (!stat) throw new Refusal('absent', `${path} is missing from ${folder}.`, { path });
  if (!stat.isFile() || stat.size !== size) {
    throw new Refusal('drifted', `${path} is not the file that its manifest lists: its size differs.`, {
      path,
    });
  }
  if (role === 'hashtree') return;
  const wanted = Object.keys(payloadSeals(ids)).map((suffix) => path + suffix);
  const roothash = path + VERITY.rootHash;
  const optional = [checksumPath(path), roothash, roothash + VERITY.seal];
  for (const name of [...wanted, ...(role === 'rootfs' ? optional : [])]) {
    const bytes = await readExisting(join(folder, name));
    if (bytes) small.set(name, bytes);
    else if (wanted.includes(name))
      throw new Refusal('absent', `${name} is missing from ${folder}.`, { path: name });
  }
}

/** Who sealed the records of a release, which were verified by `anchors`. @param ids of other CAs. */
export function signersOf(
  small: ReadonlyMap<string, Uint8Array>,
  anchors: Anchors,
  ids: readonly string[],
): StandingSigners {
  const cms = (name: string) => {
    const data = decodeOr(name, () => decodeDetachedCms(small.get(name) ?? new Uint8Array()));
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
  const openpgp = [RECORD.manifest, RECORD.grubCfg].flatMap((name) =>
    decodeOr(name, () => decodeDetachedOpenpgp(small.get(name + SEAL.openpgp) ?? new Uint8Array())).map(
      ({ issuerFingerprint, issuerKeyId }) => issuerFingerprint ?? fingerprintOf(anchors, issuerKeyId),
    ),
  );
  return {
    codesign: named(RECORD.manifest, cms(RECORD.manifest + SEAL.cms).by(anchors.codesign)),
    ...bootOf(RECORD.bootIpxe),
    openpgp: [...new Set(openpgp)],
    others: new Map(ids.map((id) => [id, bootOf(otherBootIpxe(id)).boot])),
  };
}

function fingerprintOf({ openpgp }: Anchors, keyId: string | undefined): string {
  const key = openpgp.flatMap(({ keys }) => keys).find(({ key: { keyId: id } }) => id === keyId);
  return key?.key.fingerprint ?? '';
}

function named(what: string, certificate: Certificate | undefined): Certificate {
  if (certificate) return certificate;
  throw new Refusal('no-verdict', `Nobody can say who sealed ${what}.`, { path: what });
}

/** All of them, for a record of provenance: SHA-256 of certificates, fingerprints of OpenPGP keys. */
export function signerFingerprints({ codesign, boot, openpgp }: StandingSigners): string[] {
  return [fingerprint(codesign), fingerprint(boot), ...openpgp].slice(0, MAX_ORIGINAL_SIGNERS);
}
