import { type Finding as LintFinding, lintScript } from '../boot/lint.ts';
import { Refusal } from '../release/refusal.ts';
import { RECORD } from '../release/seal-names.ts';
import { readAnchorFolder } from '../store/anchor-folder.ts';
import { type TreeVerdict, verifyTree } from '../store/verify-tree.ts';
import { defaultPolicy } from '../trust/policy.ts';

export interface VerifyRequest {
  readonly tree: string;
  /** An `anchors/` folder, or the `init` folder around it. */
  readonly anchors: string;
  /** Milliseconds since 1970: the time that certificates, keys and algorithms are judged at. */
  readonly now: number;
  readonly onProgress?: (path: string, octets: number, size: number) => void;
}

export interface VerifyResult extends TreeVerdict {
  /** What the linter has against `boot.ipxe`. */
  readonly lint: readonly LintFinding[];
}

/** Verifies a sealed tree as its clients will, and proves what its boot script must hold. */
export async function verify(request: VerifyRequest): Promise<VerifyResult> {
  const anchors = await readAnchorFolder(request.anchors);
  for (const [name, found] of [
    ['codesign.crt', anchors.codesign.length],
    ['boot.crt', anchors.bootSigner ? 1 : 0],
    ['pubring.gpg', anchors.openpgp.length],
  ] as const) {
    // Fewer anchors would mean fewer checks, and a table that looks as good as a full one.
    if (!found)
      throw new Refusal('absent', `${request.anchors} holds no ${name}, so not every seal can be verified.`, {
        name,
      });
  }
  const verdict = await verifyTree(request.tree, anchors, {
    policy: defaultPolicy(request.now),
    now: request.now,
    ...(request.onProgress ? { onProgress: request.onProgress } : {}),
  });
  const script = verdict.small.get(RECORD.bootIpxe);
  const lint = script ? lintScript(script, { signers: [verdict.manifest?.release ?? ''] }) : [];
  const [first] = lint;
  const refusal =
    verdict.refusal ??
    (first &&
      new Refusal('unsafe-script', `${RECORD.bootIpxe}, line ${first.line}: ${first.message}`, {
        line: first.line,
        rule: first.rule,
      }));
  return { ...verdict, lint, refusal };
}
