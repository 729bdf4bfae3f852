import { createHash } from 'node:crypto';
import { FolderTree } from '../files/folder-tree.ts';
import { decodeDetachedCms, type SignedData, type SignerInfo } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodeDetachedOpenpgp } from '../formats/openpgp/openpgp-signature.ts';
import { decodeManifest, type Manifest } from '../formats/records/manifest.ts';
import { otherCaOf, otherIpxeSeal, RECORD, SEAL, SUMS, VERITY } from '../formats/records/seal-names.ts';
import { sumsPaths } from '../formats/records/sums.ts';
import type { OpenpgpPurpose } from './anchors.ts';
import { decodeOr } from './check.ts';

/** Whose keys a sealed tree depends on, as its seals say; nothing is verified. */
export interface TreeKeys {
  readonly release: string;
  /** Milliseconds since 1970. */
  readonly issued: number;
  readonly bestBefore: number;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  /** Those that the seals for iPXE carry: one for each CA whose loaders it is for. */
  readonly cas: readonly Certificate[];
  /** Signers of `boot.ipxe`. */
  readonly boot: readonly Certificate[];
  /** Signers of kernel and initrds, for iPXE. */
  readonly leaves: readonly Certificate[];
  /** Of the seals whose certificates stand elsewhere: those of payload, and those of records. */
  readonly codesign: readonly SignerInfo[];
  readonly manifest: readonly SignerInfo[];
  /** Key ids, 16 hex digits. */
  readonly openpgp: Readonly<Record<OpenpgpPurpose, readonly string[]>>;
}

/** Bytes; no record or seal is longer. */
const MAX_RECORD = 1024 * 1024;

/** Throws a `Refusal` (`absent`, `malformed`) for what is no sealed tree; an IoError. */
export async function readTreeKeys(tree: string): Promise<TreeKeys> {
  const of = new FolderTree(tree);
  const records = new Map<string, Uint8Array>();
  const read = async (path: string) => {
    const bytes = await of.read(path, MAX_RECORD);
    records.set(path, bytes);
    return bytes;
  };
  const bytes = await read(RECORD.manifest);
  const manifest = decodeOr(RECORD.manifest, () => decodeManifest(bytes));
  const { scripts, images, codesign, manifests, openpgp } = sealsOf(manifest, await of.list(''));
  for (const path of [...scripts, ...manifests, ...openpgp.map(([seal]) => seal), ...images, ...codesign])
    await read(path);
  return treeKeysOf(manifest, records);
}

/**
 * The same of what is in memory.
 *
 * @param records by path; the manifest is among them. A seal that is not was not looked at, and says nothing.
 * @throws Refusal `malformed`.
 */
export function treeKeysOf(manifest: Manifest, records: ReadonlyMap<string, Uint8Array>): TreeKeys {
  const { release, issued, bestBefore } = manifest;
  const seals = sealsOf(manifest, [...records.keys()]);
  const cms = (paths: readonly string[]): SignedData[] =>
    paths.flatMap((path) => {
      const bytes = records.get(path);
      return bytes ? [decodeOr(path, () => decodeDetachedCms(bytes))] : [];
    });
  const boot = cms(seals.scripts);
  const images = cms(seals.images);
  const openpgp = { payload: new Set<string>(), script: new Set<string>(), manifest: new Set<string>() };
  for (const [path, purpose] of seals.openpgp) {
    const bytes = records.get(path);
    const found = bytes ? decodeOr(path, () => decodeDetachedOpenpgp(bytes)) : [];
    for (const { issuerKeyId, issuerFingerprint } of found) {
      const id = issuerFingerprint?.slice(-16) ?? issuerKeyId;
      if (id !== undefined) openpgp[purpose].add(id);
    }
  }
  const carried = [...boot, ...images].flatMap(({ certificates }) => certificates);
  return {
    release,
    issued,
    bestBefore,
    manifestSha256: createHash('sha256')
      .update(records.get(RECORD.manifest) ?? '')
      .digest('hex'),
    cas: unique(carried.filter(({ basicConstraints }) => basicConstraints?.ca)),
    boot: unique(boot.flatMap(signersOf)),
    leaves: unique(images.flatMap(signersOf)),
    codesign: cms(seals.codesign).flatMap(({ signers }) => signers),
    manifest: cms(seals.manifests).flatMap(({ signers }) => signers),
    openpgp: {
      payload: [...openpgp.payload],
      script: [...openpgp.script],
      manifest: [...openpgp.manifest],
    },
  };
}

/** Where the seals of a release stand, by whose they are. @param names at the top of its tree: scripts, or their seals. */
function sealsOf({ files, verity }: Manifest, names: readonly string[]) {
  const scripts = names.map((name) => name.replace(/\.sig$/, ''));
  const otherScripts = [...new Set(scripts)].filter((name) => otherCaOf(name) !== undefined).sort();
  const loaderSeals = [SEAL.ipxe, ...otherScripts.map((name) => otherIpxeSeal(otherCaOf(name) ?? ''))];
  const payload = files.filter(({ role }) => role !== 'hashtree').map(({ path }) => path);
  const openpgp: (readonly [path: string, purpose: OpenpgpPurpose])[] = [
    [RECORD.manifest + SEAL.openpgp, 'manifest'],
    ...sumsPaths({ files }).map((path) => [path + SUMS.seal, 'manifest'] as const),
    [RECORD.grubCfg + SEAL.openpgp, 'script'],
    ...payload.map((path) => [path + SEAL.openpgp, 'payload'] as const),
  ];
  return {
    scripts: [RECORD.bootIpxe, ...otherScripts].map((script) => script + SEAL.openpgp),
    images: payload.flatMap((path) => loaderSeals.map((suffix) => path + suffix)),
    codesign: payload.map((path) => path + SEAL.cms),
    manifests: [
      RECORD.manifest + SEAL.cms,
      ...verity.map(({ path }) => path + VERITY.rootHash + VERITY.seal),
    ],
    openpgp,
  };
}

/** Whether a signature names this certificate as its signer's. */
export function isSignedBy({ issuer, serialNumber }: SignerInfo, certificate: Certificate): boolean {
  return (
    Buffer.compare(certificate.issuer, issuer) === 0 &&
    Buffer.compare(certificate.serialNumber, serialNumber) === 0
  );
}

/** Of the certificates that it carries, those of its signers. */
export function signersOf({ signers, certificates }: SignedData): Certificate[] {
  return certificates.filter((certificate) => signers.some((info) => isSignedBy(info, certificate)));
}

function unique(certificates: readonly Certificate[]): Certificate[] {
  return [...new Map(certificates.map((one) => [Buffer.from(one.raw).toString('hex'), one])).values()];
}
