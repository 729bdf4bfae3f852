import { FolderTree } from '../files/folder-tree.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { type AskPassphrase, accessOf } from '../signing/keys/passphrase.ts';
import { Signing } from '../signing/sealer.ts';
import { readPolicyFileOr } from '../trust/given-policy.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import type { SuccessionStep } from '../trust/succession.ts';
import { demandSuccession, readResignKeys } from './keys.ts';
import { rework, SignerGone, signRework, type WantedChange } from './rework.ts';
import { readStanding, readTrusted } from './standing.ts';
import { finishReplacing, replaceRecords } from './tree-journal.ts';

export interface ResignRequest extends Omit<WantedChange, 'issued'> {
  /** An `init` folder. */
  readonly keys: string;
  /** Who knows the passphrases of keys that have one. */
  readonly passphrase?: AskPassphrase;
  /** Of other CAs whose loaders start the release too. */
  readonly alsoKeys?: readonly string[];
  /** Whose seals count: the site's before a rotation, other sites'. Those of `keys` count anyway. */
  readonly anchors?: readonly string[];
  /** Files of successors; default: the one among the anchors of `keys`. */
  readonly successors?: readonly string[];
  /** A policy file (TOML): which keys are revoked; of a state it must say what the state's own says. */
  readonly policy?: string;
  /** Milliseconds since 1970; default: `now`. */
  readonly issued?: number;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Says what would change, and asks no signer. */
  readonly dryRun?: boolean;
}

export interface ResignTreeRequest extends ResignRequest {
  readonly tree: string;
  /**
   * A folder that nobody else may use, outside the tree, for what is unfinished; it is made with mode 0700. The next
   * run with the same folder goes on after a crash.
   */
  readonly journals: string;
}

export interface ResignedTree {
  readonly manifest: Manifest;
  /** Lower-case hex. */
  readonly manifestSha256: string;
  /** Paths that were written, or would be; none: it is as it shall be. */
  readonly changes: readonly string[];
  /** From which key to which; none: the very keys that sealed it. */
  readonly steps: readonly SuccessionStep[];
}

/**
 * Signs the records of one tree anew. Of its payload nothing is read and nothing is written.
 *
 * @throws Refusal, IoError; the tree is as it was then. A tree has no quarantine.
 */
export async function resignTree(request: ResignTreeRequest): Promise<ResignedTree> {
  const { tree, journals, now, dryRun = false } = request;
  if (!dryRun) await finishReplacing(tree, journals);
  const { trusted, resignKeys, issued } = await prepareResign(
    request,
    await readPolicyFileOr(request.policy),
  );
  const standing = await readStanding(new FolderTree(tree), trusted);
  const steps = await demandSuccession(standing.signers, resignKeys, trusted);
  const wanted = await rework(standing, resignKeys, { ...request, issued: issued ?? wholeSeconds(now) });
  const { draft, changes, asItStands } = wanted;
  const result = { manifest: draft.manifest, manifestSha256: draft.manifestSha256, changes, steps };
  if (asItStands || dryRun) return result;
  const signing = new Signing(resignKeys.keys, resignKeys.others);
  const records = await signRework(standing, wanted, signing, resignKeys, trusted).catch((error) => {
    throw error instanceof SignerGone ? error.refusal : error;
  });
  await replaceRecords(tree, records, journals);
  return result;
}

/** What every way of signing anew begins with. */
export async function prepareResign(request: ResignRequest, policy: PolicyFile) {
  const { keys, alsoKeys = [], anchors = [], now } = request;
  const trusted = await readTrusted([keys, ...alsoKeys, ...anchors], policy.at(now, now), now);
  const resignKeys = await readResignKeys(keys, alsoKeys, request.successors, now, accessOf(request));
  const issued = request.issued === undefined ? undefined : wholeSeconds(request.issued);
  return { trusted, resignKeys, issued };
}

export function wholeSeconds(time: number): number {
  return Math.floor(time / 1000) * 1000;
}
