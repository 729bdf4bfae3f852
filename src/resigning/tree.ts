import { readdir, rename, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { syncDirectory } from '../files/atomic-file.ts';
import { writeFolderAtomically } from '../files/atomic-folder.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import { Signing } from '../signing/sealer.ts';
import { DEFAULT_POLICY_FILE, readPolicyFile } from '../trust/policy-file.ts';
import type { SuccessionStep } from '../trust/succession.ts';
import { demandSuccession, readResignKeys } from './keys.ts';
import { rework, SignerGone, signRework, type WantedChange } from './rework.ts';
import { readStanding, readTrusted } from './standing.ts';

/** Where what is to be written stands, whole, while it takes the place of the old. */
const PENDING = '.bootseal-resign';
/** As `writeFolderAtomically` names it before it is whole. */
const UNFINISHED = /^\.bootseal-\.bootseal-resign-[0-9a-f]{16}\.tmp$/;

export interface ResignRequest extends Omit<WantedChange, 'issued'> {
  /** An `init` folder. */
  readonly keys: string;
  /** Of other CAs whose loaders start the release too. */
  readonly alsoKeys?: readonly string[];
  /** Whose seals count: the site's before a rotation, other sites'. Those of `keys` count anyway. */
  readonly anchors?: readonly string[];
  /** Files of successors; default: the one among the anchors of `keys`. */
  readonly successors?: readonly string[];
  /** A policy file (TOML): which keys are revoked. */
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
  const { tree, now, dryRun = false } = request;
  if (!dryRun) await finishPending(tree);
  const { trusted, resignKeys, issued } = await prepareResign(request);
  const standing = await readStanding(tree, trusted);
  const steps = await demandSuccession(standing.signers, resignKeys, trusted);
  const wanted = await rework(standing, resignKeys, { ...request, issued: issued ?? wholeSeconds(now) });
  const { draft, changes, asItStands } = wanted;
  const result = { manifest: draft.manifest, manifestSha256: draft.manifestSha256, changes, steps };
  if (asItStands || dryRun) return result;
  const signing = new Signing(resignKeys.keys, resignKeys.others);
  const records = await signRework(standing, wanted, signing, resignKeys, trusted).catch((error) => {
    throw error instanceof SignerGone ? error.refusal : error;
  });
  await writeFolderAtomically(join(tree, PENDING), records);
  await finishPending(tree);
  return result;
}

/** What every way of signing anew begins with. */
export async function prepareResign(request: ResignRequest) {
  const { keys, alsoKeys = [], anchors = [], now } = request;
  const file = request.policy === undefined ? DEFAULT_POLICY_FILE : await readPolicyFile(request.policy);
  const policy = file.at(now, now);
  const trusted = await readTrusted([keys, ...alsoKeys, ...anchors], policy, now);
  const resignKeys = await readResignKeys(keys, alsoKeys, request.successors, now);
  const issued = request.issued === undefined ? undefined : wholeSeconds(request.issued);
  return { trusted, resignKeys, issued };
}

export function wholeSeconds(time: number): number {
  return Math.floor(time / 1000) * 1000;
}

/**
 * Puts in place what was written whole before; a crash in the middle leaves the rest for the next one. Without
 * this a tree could be left with a new manifest and old seals, and nobody could say what it had been.
 */
async function finishPending(tree: string): Promise<void> {
  const pending = join(tree, PENDING);
  for (const name of await readdir(tree))
    if (UNFINISHED.test(name)) await rm(join(tree, name), { recursive: true, force: true });
  const found = await readdir(pending, { recursive: true, withFileTypes: true }).catch(() => []);
  const files = found.filter((entry) => entry.isFile());
  if (found.length === 0) return void (await rmdir(pending).catch(() => {}));
  for (const { parentPath, name } of files) {
    const from = join(parentPath, name);
    const to = join(tree, from.slice(pending.length + 1));
    await rename(from, to);
    await syncDirectory(dirname(to));
  }
  // Nothing but empty folders.
  await rm(pending, { recursive: true, force: true });
  await syncDirectory(tree);
}
