import { Refusal } from '../errors/refusal.ts';
import { otherCaOf, RECORD } from '../formats/records/seal-names.ts';
import { type Finding as LintFinding, lintScript } from '../scripts/lint.ts';
import { readAnchorFolder } from './anchor-folder.ts';
import { type Anchors, anchorId } from './anchors.ts';
import { refusedLine } from './script-lines.ts';
import type { VerifyTreeOptions } from './tree-judge.ts';
import { type TreeVerdict, verifyTree } from './verify-tree.ts';

export interface JudgedTree extends TreeVerdict {
  /** What the linter has against the boot scripts. */
  readonly lint: readonly ScriptFinding[];
}

export interface ScriptFinding extends LintFinding {
  /** `boot.ipxe` */
  readonly script: string;
}

/**
 * Reads the anchors of each CA whose loaders shall start a release. The first are those that the release is
 * verified with as a whole; of the others counts what their loaders look at.
 *
 * @throws Refusal where a folder holds too few, or two hold the same CA.
 */
export async function readAllAnchors(
  folder: string,
  others: readonly string[] = [],
): Promise<{ anchors: Anchors; others: readonly Anchors[] }> {
  const anchors = await readAnchorFolder(folder);
  demandAllAnchors(folder, anchors);
  const read: Anchors[] = [];
  for (const path of others) {
    const other = await readAnchorFolder(path);
    demandAllAnchors(path, other);
    if (
      [anchors, ...read].some(({ ca: [ca] }) => ca && other.ca[0] && anchorId(ca) === anchorId(other.ca[0]))
    ) {
      throw new Refusal(
        'mixed-releases',
        `${path} holds the same CA as the anchors before it; one folder of a CA is enough.`,
        { path },
      );
    }
    read.push(other);
  }
  return { anchors, others: read };
}

/** Fewer anchors would mean fewer checks, and a table that looks as good as a full one. */
export function demandAllAnchors(folder: string, anchors: Anchors): void {
  for (const [name, found] of [
    ['codesign.crt', anchors.codesign.length],
    ['boot.crt', anchors.bootSigner ? 1 : 0],
    ['pubring.gpg', anchors.openpgp.length],
  ] as const) {
    if (found) continue;
    throw new Refusal('absent', `${folder} holds no ${name}, so not every seal can be verified.`, { name });
  }
}

/**
 * What `verify`, `serve` and `publish` ask of a tree before anything else: every seal of every file, and boot scripts
 * whose properties the linter has proven, and whose command lines are the manifest's. A refusal is part of the
 * answer.
 */
export async function judgeTree(
  tree: string,
  anchors: Anchors,
  options: VerifyTreeOptions,
): Promise<JudgedTree> {
  const verdict = await verifyTree(tree, anchors, options);
  const lint: ScriptFinding[] = [];
  // Where the manifest is refused, nobody knows whose name the scripts should ask for.
  const signers = [verdict.manifest?.release ?? ''];
  for (const [script, bytes] of verdict.manifest ? verdict.small : []) {
    if (script !== RECORD.bootIpxe && otherCaOf(script) === undefined) continue;
    lint.push(...lintScript(bytes, { signers }).map((finding) => ({ script, ...finding })));
  }
  const [first] = lint;
  const unsafe =
    first &&
    new Refusal('unsafe-script', `${first.script}, line ${first.line}: ${first.message}`, {
      line: first.line,
      rule: first.rule,
    });
  const { manifest, manifestSha256, small } = verdict;
  const line = manifest && refusedLine(small, manifest, manifestSha256);
  return { ...verdict, lint, refusal: verdict.refusal ?? unsafe ?? line };
}
