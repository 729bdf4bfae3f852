import { join } from 'node:path';
import type { Manifest } from '../formats/manifest.ts';
import { Refusal } from '../release/refusal.ts';
import type { PinnedFile } from '../serve/file-resource.ts';
import type { ServedRelease } from '../serve/release-site.ts';
import { readAnchorFolder } from '../store/anchor-folder.ts';
import { readSelfAnchor } from '../store/self-anchor.ts';
import { verifyTree } from '../store/verify-tree.ts';
import { anchorId } from '../trust/anchors.ts';
import { defaultPolicy } from '../trust/policy.ts';

export interface LoadRequest {
  readonly tree: string;
  /** Undefined: the tree's own CA, and everything is labelled "unanchored". */
  readonly anchors: string | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
  readonly onProgress?: (path: string, octets: number, size: number) => void;
}

export interface LoadedRelease extends ServedRelease {
  readonly manifest: Manifest;
  readonly manifestSha256: string;
  readonly anchored: boolean;
  /** CN that loaders demand of `boot.ipxe`. */
  readonly bootSigner: string;
}

/** Verifies a tree and pins what was verified: the only way a release gets in front of a server. */
export async function loadRelease(request: LoadRequest): Promise<LoadedRelease> {
  const { tree, now, onProgress } = request;
  const anchors =
    request.anchors === undefined ? await readSelfAnchor(tree) : await readAnchorFolder(request.anchors);
  const verdict = await verifyTree(tree, anchors, {
    policy: defaultPolicy(now),
    now,
    ...(onProgress ? { onProgress } : {}),
  });
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
    manifest,
    manifestSha256: verdict.manifestSha256,
    anchored: request.anchors !== undefined,
    bootSigner: anchors.bootSigner,
  };
}
