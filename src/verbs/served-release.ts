import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '../formats/manifest.ts';
import { Refusal } from '../release/refusal.ts';
import { otherBootIpxe } from '../release/seal-names.ts';
import type { PinnedFile } from '../serve/file-resource.ts';
import type { ServedRelease } from '../serve/release-site.ts';
import { readAnchorFolder } from '../store/anchor-folder.ts';
import { readSelfAnchor } from '../store/self-anchor.ts';
import { type Anchors, anchorId } from '../trust/anchors.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { type JudgedTree, judgeTree, readAllAnchors } from './judge-tree.ts';

export interface LoadRequest {
  readonly tree: string;
  /** Undefined: the tree's own CA, and everything is labelled "unanchored". */
  readonly anchors: string | undefined;
  /** Anchors of other CAs whose loaders shall start the release too. */
  readonly otherAnchors?: readonly string[];
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
  /** Boot scripts in the tree that are not served, since no anchors were given for their CA. */
  readonly unjudged: readonly string[];
}

async function anchorsOf(request: LoadRequest): Promise<Awaited<ReturnType<typeof readAllAnchors>>> {
  const { tree, anchors: folder, otherAnchors } = request;
  if (folder !== undefined) return readAllAnchors(folder, otherAnchors);
  return { anchors: await readSelfAnchor(tree), others: [] };
}

/**
 * Which of several folders of anchors a published release was sealed for: first the one whose CA its
 * `boot.ipxe` carries, then those for whose loaders it has a script of their own. While a CA is being replaced a
 * server has releases of before, of the overlap and of after. This decides nothing: each is verified yet.
 */
export async function fittingAnchors(
  tree: string,
  folders: readonly string[],
): Promise<{ anchors: string | undefined; otherAnchors: readonly string[] }> {
  const [first, ...rest] = folders;
  if (rest.length === 0) return { anchors: first, otherAnchors: [] };
  const [own] = (await readSelfAnchor(tree)).ca;
  const known: { folder: string; id: string | undefined }[] = [];
  for (const folder of folders) {
    const [ca] = (await readAnchorFolder(folder)).ca;
    known.push({ folder, id: ca && anchorId(ca) });
  }
  const anchors = known.find(({ id }) => own && id === anchorId(own))?.folder ?? first;
  const names = new Set(await readdir(tree));
  const otherAnchors = known
    .filter(({ folder, id }) => folder !== anchors && id !== undefined && names.has(otherBootIpxe(id)))
    .map(({ folder }) => folder);
  return { anchors, otherAnchors };
}

/** Verifies a tree and pins what was verified: the only way a release gets in front of a server. */
export async function loadRelease(request: LoadRequest): Promise<LoadedRelease> {
  const { tree, now, onProgress } = request;
  const { anchors, others } = await anchorsOf(request);
  const verdict = await judgeTree(tree, anchors, {
    policy: defaultPolicy(now),
    now,
    others,
    ...(onProgress ? { onProgress } : {}),
  });
  return pinRelease(tree, verdict, anchors, request.anchors !== undefined, others);
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
