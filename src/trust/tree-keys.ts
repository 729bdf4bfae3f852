import { createHash } from 'node:crypto';
import { FolderTree } from '../files/folder-tree.ts';
import { decodeDetachedCms, type SignedData, type SignerInfo } from '../formats/asn1/cms.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { decodeDetachedOpenpgp } from '../formats/openpgp/openpgp-signature.ts';
import { decodeManifest } from '../formats/records/manifest.ts';
import { otherCaOf, otherIpxeSeal, RECORD, SEAL, VERITY } from '../formats/records/seal-names.ts';
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
  const read = (path: string) => of.read(path, MAX_RECORD);
  const cms = async (path: string) => {
    const bytes = await read(path);
    return decodeOr(path, () => decodeDetachedCms(bytes));
  };
  const bytes = await read(RECORD.manifest);
  const { release, issued, bestBefore, files, verity } = decodeOr(RECORD.manifest, () =>
    decodeManifest(bytes),
  );
  const otherScripts = (await of.list('')).filter((name) => otherCaOf(name) !== undefined).sort();
  const loaderSeals = [SEAL.ipxe, ...otherScripts.map((name) => otherIpxeSeal(otherCaOf(name) ?? ''))];

  const boot: SignedData[] = [];
  for (const script of [RECORD.bootIpxe, ...otherScripts]) boot.push(await cms(script + SEAL.openpgp));
  const images: SignedData[] = [];
  const codesign: SignerInfo[] = [];
  const manifest = [...(await cms(RECORD.manifest + SEAL.cms)).signers];
  const openpgp = { payload: new Set<string>(), script: new Set<string>(), manifest: new Set<string>() };
  const addOpenpgp = async (path: string, purpose: OpenpgpPurpose) => {
    const seal = await read(path);
    for (const { issuerKeyId, issuerFingerprint } of decodeOr(path, () => decodeDetachedOpenpgp(seal))) {
      const id = issuerFingerprint?.slice(-16) ?? issuerKeyId;
      if (id !== undefined) openpgp[purpose].add(id);
    }
  };
  await addOpenpgp(RECORD.manifest + SEAL.openpgp, 'manifest');
  await addOpenpgp(RECORD.grubCfg + SEAL.openpgp, 'script');
  for (const { role, path } of files) {
    if (role === 'hashtree') continue;
    for (const suffix of loaderSeals) images.push(await cms(path + suffix));
    codesign.push(...(await cms(path + SEAL.cms)).signers);
    await addOpenpgp(path + SEAL.openpgp, 'payload');
  }
  for (const { path } of verity) manifest.push(...(await cms(path + VERITY.rootHash + VERITY.seal)).signers);
  const carried = [...boot, ...images].flatMap(({ certificates }) => certificates);
  return {
    release,
    issued,
    bestBefore,
    manifestSha256: createHash('sha256').update(bytes).digest('hex'),
    cas: unique(carried.filter(({ basicConstraints }) => basicConstraints?.ca)),
    boot: unique(boot.flatMap(signersOf)),
    leaves: unique(images.flatMap(signersOf)),
    codesign,
    manifest,
    openpgp: {
      payload: [...openpgp.payload],
      script: [...openpgp.script],
      manifest: [...openpgp.manifest],
    },
  };
}

/** Whether a signature names this certificate as its signer's. */
export function isSignedBy({ issuer, serialNumber }: SignerInfo, certificate: Certificate): boolean {
  return (
    Buffer.compare(certificate.issuer, issuer) === 0 &&
    Buffer.compare(certificate.serialNumber, serialNumber) === 0
  );
}

function signersOf({ signers, certificates }: SignedData): Certificate[] {
  return certificates.filter((certificate) => signers.some((info) => isSignedBy(info, certificate)));
}

function unique(certificates: readonly Certificate[]): Certificate[] {
  return [...new Map(certificates.map((one) => [Buffer.from(one.raw).toString('hex'), one])).values()];
}
