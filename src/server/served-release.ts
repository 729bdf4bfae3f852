import { readdir } from 'node:fs/promises';
import { otherBootIpxe } from '../formats/records/seal-names.ts';
import { readAnchorFolder } from '../trust/anchor-folder.ts';
import { anchorId } from '../trust/anchors.ts';
import { judgeTree, readAllAnchors } from '../trust/judge-tree.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { readSelfAnchor } from '../trust/self-anchor.ts';
import { type LoadedRelease, pinRelease } from '../trust/verified-release.ts';

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
