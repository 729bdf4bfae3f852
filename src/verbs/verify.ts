import { type JudgedTree, judgeTree, readAllAnchors } from './judge-tree.ts';
import { DEFAULT_POLICY_FILE, readPolicyFile } from './policy-file.ts';

export interface VerifyRequest {
  readonly tree: string;
  /** An `anchors/` folder, or the `init` folder around it. */
  readonly anchors: string;
  /** Anchors of other CAs whose loaders shall start the release too, while a CA is being replaced. */
  readonly otherAnchors?: readonly string[];
  /** Milliseconds since 1970: what the operator's clock says. */
  readonly now: number;
  /** The time that certificates, keys and algorithms are judged at, on the operator's word; default `now`. */
  readonly at?: number;
  /** A policy file (TOML). */
  readonly policy?: string;
  readonly onProgress?: (path: string, octets: number, size: number) => void;
}

export type VerifyResult = JudgedTree;

/** Verifies a sealed tree as its clients will, and proves what its boot script must hold. */
export async function verify(request: VerifyRequest): Promise<VerifyResult> {
  const { tree, now, at = now } = request;
  const { anchors, others } = await readAllAnchors(request.anchors, request.otherAnchors);
  const file = request.policy === undefined ? DEFAULT_POLICY_FILE : await readPolicyFile(request.policy);
  return judgeTree(tree, anchors, {
    policy: file.at(at, now),
    now: at,
    others,
    ...(request.onProgress ? { onProgress: request.onProgress } : {}),
  });
}
