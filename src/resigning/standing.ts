import { Refusal } from '../errors/refusal.ts';
import { sizeIn, type Tree } from '../files/tree.ts';
import type { Manifest, ManifestFile } from '../formats/records/manifest.ts';
import { checksumPath, otherBootIpxe, otherCaOf, VERITY } from '../formats/records/seal-names.ts';
import { payloadSeals } from '../signing/seal-keys.ts';
import { LONGEST_SEAL } from '../signing/tree-draft.ts';
import { readAnchorFolder } from '../trust/anchor-folder.ts';
import { type Anchors, anchorId } from '../trust/anchors.ts';
import type { Policy } from '../trust/policy.ts';
import { type StandingSigners, signersOf } from '../trust/record-signers.ts';
import { refusedLine } from '../trust/script-lines.ts';
import { readSelfAnchor } from '../trust/self-anchor.ts';
import { demandAllAnchors } from '../trust/trust-roots.ts';
import { Verifier } from '../trust/verifier.ts';

/** Everybody whose seals count: anchors of several folders, those of replaced keys among them. */
export interface Trusted {
  readonly folders: readonly Anchors[];
  readonly policy: Policy;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A sealed release as it stands, its records verified. Its payload was looked at from outside only. */
export interface Standing {
  readonly tree: Tree;
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  /** Every record and seal, by path. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  readonly signers: StandingSigners;
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
    manifest: folders.flatMap(({ manifest }) => manifest),
    openpgp: {
      payload: folders.flatMap(({ openpgp }) => openpgp.payload),
      script: folders.flatMap(({ openpgp }) => openpgp.script),
      manifest: folders.flatMap(({ openpgp }) => openpgp.manifest),
    },
    bootSigner,
  };
}

/**
 * Verifies the records of a release by anchors of the pool, and says who sealed them. No file of the payload is
 * opened: its digests are what the verified manifest says, and its sizes are compared.
 *
 * @throws Refusal with the reason of the first seal that does not hold.
 */
export async function readStanding(tree: Tree, trusted: Trusted): Promise<Standing> {
  const { policy, now } = trusted;
  // 1. Which site's name `boot.ipxe` bears decides nothing: whoever it names must be one of ours.
  const { bootSigner } = await readSelfAnchor(tree);
  const known = trusted.folders.some((anchors) => anchors.bootSigner === bootSigner);
  const anchors = pooled(trusted, known ? bootSigner : trusted.folders[0]?.bootSigner);
  const ids = (await tree.list('')).flatMap((name) => otherCaOf(name) ?? []).sort();
  const others = ids.map((id) => otherAnchors(id, trusted));
  // 2. Every record by its seal, and each names the manifest.
  const roots = { own: anchors, others, anchored: true };
  const verdict = await new Verifier(roots, { at: () => policy }, () => now).verifyRecords(tree);
  if (verdict.refusal) throw verdict.refusal;
  const { manifest, manifestSha256 } = verdict;
  if (!manifest) throw new Refusal('no-verdict', `Nothing vouches for ${tree.name}.`, { path: tree.name });
  const line = refusedLine(verdict.records, manifest, manifestSha256);
  if (line) throw line;
  // 3. The payload is there, and nothing of it is read.
  const records = new Map(verdict.records);
  for (const file of manifest.files) await addSeals(tree, file, ids, records);
  return { tree, manifest, manifestSha256, records, signers: signersOf(records, anchors, ids) };
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
  tree: Tree,
  { role, path, size }: ManifestFile,
  ids: readonly string[],
  records: Map<string, Uint8Array>,
): Promise<void> {
  if ((await sizeIn(tree, path)) !== size) {
    throw new Refusal('drifted', `${path} is not the file that its manifest lists: its size differs.`, {
      path,
    });
  }
  if (role === 'hashtree') return;
  const wanted = Object.keys(payloadSeals(ids)).map((suffix) => path + suffix);
  const roothash = path + VERITY.rootHash;
  const optional = [checksumPath(path), roothash, roothash + VERITY.seal];
  for (const name of [...wanted, ...(role === 'rootfs' ? optional : [])]) {
    const bytes = await readSeal(tree, name);
    if (bytes) records.set(name, bytes);
    else if (wanted.includes(name))
      throw new Refusal('absent', `${name} is missing from ${tree.name}.`, { path: name });
  }
}

/** Undefined where there is none, or what lies there is no seal by its length. */
async function readSeal(tree: Tree, path: string): Promise<Uint8Array | undefined> {
  try {
    return await tree.read(path, LONGEST_SEAL);
  } catch (error) {
    if (error instanceof Refusal && (error.code === 'absent' || error.code === 'too-large')) return undefined;
    throw error;
  }
}
