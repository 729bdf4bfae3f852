import { Refusal } from '../errors/refusal.ts';
import type { Tree } from '../files/tree.ts';
import { decodeDetachedCms } from '../formats/asn1/cms.ts';
import { decodeDetachedOpenpgp } from '../formats/openpgp/openpgp-signature.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { checksumPath, RECORD, SEAL, SUMS, VERITY } from '../formats/records/seal-names.ts';
import { sumsPaths } from '../formats/records/sums.ts';
import { decodeOr } from './check.ts';

/** Bytes. */
const MAX_SEAL = 1024 * 1024;

/**
 * The seals of a release that need a certificate to be judged, where nobody named one. Machines that hold it ask for
 * them, so they are served; all that can be said is that those of one kind are by one signer.
 *
 * @returns bytes by path, grub.cfg among them.
 * @throws Refusal `absent`, `malformed`, `mixed-releases`.
 */
export async function readUnanchoredSeals(tree: Tree, manifest: Manifest): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  const signers = new Map<string, string>();
  const read = async (path: string) => {
    const bytes = await tree.read(path, MAX_SEAL);
    found.set(path, bytes);
    return bytes;
  };
  const one = (kind: string, path: string, signer: string) => {
    const known = signers.get(kind) ?? signer;
    signers.set(kind, known);
    if (known === signer) return;
    throw new Refusal('mixed-releases', `${path} is by another signer than the seals beside it.`, { path });
  };
  const cms = async (purpose: string, path: string) => {
    const bytes = await read(path);
    for (const { issuer, serialNumber } of decodeOr(path, () => decodeDetachedCms(bytes)).signers) {
      one(`CMS of ${purpose}`, path, Buffer.concat([issuer, serialNumber]).toString('hex'));
    }
  };
  const openpgp = async (purpose: string, path: string) => {
    const bytes = await read(path);
    for (const { issuerFingerprint, issuerKeyId } of decodeOr(path, () => decodeDetachedOpenpgp(bytes))) {
      one(`OpenPGP of ${purpose}`, path, issuerFingerprint ?? issuerKeyId ?? '');
    }
  };
  await cms('records', RECORD.manifest + SEAL.cms);
  await openpgp('records', RECORD.manifest + SEAL.openpgp);
  for (const path of sumsPaths(manifest)) await openpgp('records', path + SUMS.seal);
  await read(RECORD.grubCfg);
  await openpgp('scripts', RECORD.grubCfg + SEAL.openpgp);
  for (const { role, path } of manifest.files) {
    if (role === 'hashtree') continue;
    await cms('payload', path + SEAL.cms);
    await openpgp('payload', path + SEAL.openpgp);
    if (role === 'rootfs') await read(checksumPath(path));
  }
  for (const { path } of manifest.verity) {
    await read(path + VERITY.rootHash);
    await cms('records', path + VERITY.rootHash + VERITY.seal);
  }
  return found;
}
