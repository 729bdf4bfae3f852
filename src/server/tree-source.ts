import { FolderTree } from '../files/folder-tree.ts';
import { readPolicyFileOr } from '../trust/given-policy.ts';
import { type AnchorFolders, readSelfRoots, readTrustRoots } from '../trust/trust-roots.ts';
import { Verifier } from '../trust/verifier.ts';
import { HeldRelease } from './held-release.ts';
import type { OfferingSource } from './offering.ts';

export interface TreeSourceOptions {
  readonly tree: string;
  /** Absent: the tree's own CA, and everything is labelled "unanchored". */
  readonly anchors?: AnchorFolders | undefined;
  /** A policy file (TOML). */
  readonly policy?: string | undefined;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly onProgress?: ((path: string, bytes: number, size: number) => void) | undefined;
}

/** A sealed tree, verified and pinned as it stands. */
export function treeSource(options: TreeSourceOptions): OfferingSource {
  const { tree: folder, anchors, clock, onProgress } = options;
  let verifier: Verifier | undefined;
  return {
    async load() {
      const tree = new FolderTree(folder, onProgress ? { onProgress } : {});
      const policy = await readPolicyFileOr(options.policy);
      const roots = anchors === undefined ? await readSelfRoots(tree) : await readTrustRoots(anchors);
      verifier = new Verifier(roots, policy, clock);
      const { release, refusal } = await verifier.verify(tree);
      if (!release) throw refusal;
      const entry = await HeldRelease.of(release, verifier);
      const byArch = new Map([[release.manifest.arch, entry]]);
      return { entry, byArch, releases: [entry], former: [], channels: new Map(), warnings: [] };
    },
    changed: async () => false,
    judge: async (held) => (verifier ? held.judge(verifier) : false),
  };
}
