import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import type { PinnedFile } from '../release/pin.ts';
import type { ServedRelease } from '../release/release-site.ts';
import { type Anchors, anchorId } from './anchors.ts';
import type { JudgedTree } from './judge-tree.ts';

export interface LoadedRelease extends ServedRelease {
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly anchored: boolean;
  /** CN that loaders demand of `boot.ipxe`. */
  readonly bootSigner: string;
  /** Boot scripts in the tree that are not served, since no anchors were given for their CA. */
  readonly unjudged: readonly string[];
}

/** What a judged tree becomes when it is served. Throws the verdict's refusal where it has one. */
export function pinRelease(
  tree: string,
  verdict: JudgedTree,
  anchors: Anchors,
  anchored: boolean,
  others: readonly Anchors[] = [],
): LoadedRelease {
  if (verdict.refusal) throw verdict.refusal;
  const { manifest } = verdict;
  const [ca] = anchors.ca;
  if (!manifest || !ca || !anchors.bootSigner) {
    throw new Refusal('no-verdict', `Verifying ${tree} ended without a verdict, so nothing is served.`, {
      path: tree,
    });
  }
  const files = new Map<string, PinnedFile>();
  for (const { path, verified, identity } of verdict.rows) {
    if (!verified || !identity)
      throw new Refusal('no-verdict', `${path} was not verified, so nothing is served.`, { path });
    if (verdict.small.has(path)) continue;
    const name = path.slice(path.lastIndexOf('/') + 1);
    files.set(path, { path: join(tree, path), name, size: verified.size, sha256: verified.sha256, identity });
  }
  return {
    release: manifest.release,
    files,
    small: verdict.small,
    anchorId: anchorId(ca),
    otherAnchorIds: others.flatMap(({ ca: [other] }) => (other ? [anchorId(other)] : [])),
    unjudged: verdict.unjudged,
    manifest,
    manifestSha256: verdict.manifestSha256,
    anchored,
    bootSigner: anchors.bootSigner,
  };
}
