import type { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { readIfThere } from '../files/read-if-there.ts';
import type { Tree } from '../files/tree.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { withReleases } from '../formats/records/snapshot.ts';
import { channelStandsAt, readChannel } from '../store/channels.ts';
import { recordIngest } from '../store/provenance.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { openState } from '../store/state.ts';
import { isFresh, policyFor } from '../store/state-policy.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { signerFingerprints, signersOf } from '../trust/record-signers.ts';
import { type AnchorFolders, readTrustRoots, type TrustRoots } from '../trust/trust-roots.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import { type Verdict, Verifier } from '../trust/verifier.ts';
import { parsePolicyFile } from '../trust/written-policy.ts';
import {
  type ChannelOptions,
  demandChannelName,
  demandSnapshotKey,
  highestOf,
  logRefusal,
  type MovedChannel,
  move,
  onRecord,
  snapshotFacts,
} from './channel-move.ts';
import { demandOrigin } from './demand-origin.ts';
import { batchFor, checkBatch } from './machine-batch.ts';
import { writePolicy } from './policy.ts';
import { demandPromoted } from './promotion.ts';
import { demandSerial, type GateRow, runGate } from './publish-gate.ts';

export interface PublishOptions extends ChannelOptions {
  /** A folder, or a tree that is somewhere else. */
  readonly tree: string | Tree;
  /** Folders of anchors; the first verifies the release as a whole, the others are of CAs that are being replaced. */
  readonly anchors: AnchorFolders;
  /** Where the tree was fetched from, if somebody else sealed it: its seals are then never replaced. */
  readonly origin?: string;
  /** A policy file (TOML): that of the state from its first publishing on; later it must say what the state's own says. */
  readonly policy?: string;
  /** Asks every gate and changes nothing. */
  readonly dryRun?: boolean;
  /** Overrides the snapshot key's modulus length where one is made. */
  readonly rsaBits?: number;
  readonly onProgress?: (path: string, bytes: number, size: number) => void;
}

export interface PublishResult {
  readonly verdict: Verdict;
  readonly gates: readonly GateRow[];
  /** Undefined: it was published, or would be. */
  readonly refusal: Refusal | undefined;
  /** Undefined where nothing was published. */
  readonly moved: MovedChannel | undefined;
}

/**
 * The one way of a release to its machines. Nothing changes unless every gate said yes. The tree is judged before the
 * state is locked: a tree that takes hours to read keeps nobody else from publishing.
 */
export async function publish(options: PublishOptions): Promise<PublishResult> {
  const { channel, now, dryRun } = options;
  demandChannelName(channel);
  if (options.origin !== undefined) demandOrigin(options.origin);
  const roots = await readTrustRoots(options.anchors);
  // Before a tree is read: what has no key would be found out at the very end.
  if (!dryRun) await demandSnapshotKey(options, true);
  const given = await policyOf(options);
  const { policy } = given;
  const verifier = new Verifier(roots, policy, () => now);
  const tree =
    typeof options.tree === 'string'
      ? new FolderTree(options.tree, options.onProgress ? { onProgress: options.onProgress } : {})
      : options.tree;
  const verdict = await verifier.verify(tree);
  const rules = policy.publish;
  const { rows, refusal } = await runGate({
    verdict,
    verifier,
    rules,
    highest: await highestOf(options, verdict.manifest?.arch),
  });
  if (verdict.release) {
    await demandNotWithdrawn(options.state, verdict.release.release);
    if (!refusal && dryRun) await demandStoodBy(options, policy, verdict.release);
  }
  if (dryRun) {
    if (verdict.release && !refusal) await checkScripts(options, roots, policy, verdict.release);
    return { verdict, gates: rows, refusal, moved: undefined };
  }
  const state = await openState(options.state);
  try {
    const { release } = verdict;
    if (refusal || !release) {
      const { manifest, manifestSha256 } = verdict;
      await logRefusal(options, refusal, {
        release: manifest?.release,
        manifest: manifestSha256 || undefined,
        serial: manifest?.serial,
      });
      return { verdict, gates: rows, refusal, moved: undefined };
    }
    const facts = snapshotFacts(release);
    const moved = await onRecord(options, facts, async () => {
      // Whatever is asked from here on is asked of this snapshot; by the one that another puts in its place nothing moves.
      const follows = await channelStandsAt(state.folder, channel);
      // What was asked before the lock is asked again where another publisher may have answered meanwhile.
      demandSerial(release.manifest, await highestOf(options, facts.arch), rules, now);
      await demandNotWithdrawn(state.folder, release.release);
      await demandStoodBy(options, policy, release);
      await adoptPolicy(options, given);
      await recordOrigin(options, release);
      await shelfOf(state.folder).store(release, now);
      return move(options, {
        act: 'publish',
        facts,
        follows,
        seals: release.records,
        batch: batchFor({ ...options, roots, policy, keys: options.scriptKeys }, release),
        origin: options.origin,
        makeKey: options.rsaBits === undefined ? {} : { rsaBits: options.rsaBits },
      });
    });
    return { verdict, gates: rows, refusal: undefined, moved };
  } finally {
    await state.release();
  }
}

/** Before it is kept: what waits for people is in nobody's way. */
function demandStoodBy(
  { state, channel, now }: PublishOptions,
  policy: PolicyFile,
  { release, records }: VerifiedRelease,
): Promise<void> {
  const manifest = records.get(RECORD.manifest) ?? new Uint8Array();
  return demandPromoted(state, channel, release, manifest, policy, now);
}

/** What would end the publishing once every gate has said yes: scripts that cannot be made, or wait for a signature. */
async function checkScripts(
  options: PublishOptions,
  roots: TrustRoots,
  policy: PolicyFile,
  release: VerifiedRelease,
): Promise<void> {
  const { state, channel } = options;
  const current = await readChannel(state, channel);
  const named = withReleases(current?.snapshot.releases ?? [], [snapshotFacts(release)]);
  await checkBatch({ ...options, roots, policy, keys: options.scriptKeys }, named, release);
}

/** What a release is judged by: the state's policy; that which was named, where this publishing makes the state. */
interface GivenPolicy {
  readonly policy: PolicyFile;
  /** To be made the state's; undefined: it has its own. */
  readonly adopt: Uint8Array | undefined;
}

async function policyOf({ state, policy: path }: PublishOptions): Promise<GivenPolicy> {
  if (path === undefined || !(await isFresh(state)))
    return { policy: await policyFor(state, path), adopt: undefined };
  const adopt = await readIfThere(path);
  if (adopt === undefined) throw new UsageError(`${path} does not exist.`);
  return { policy: parsePolicyFile(path, adopt.toString('utf8')), adopt };
}

/** Under the lock: the policy is still what the release was judged by, or becomes it now. */
async function adoptPolicy(
  { state, policy: path, now, snapshotKey }: PublishOptions,
  { policy, adopt }: GivenPolicy,
): Promise<void> {
  if (adopt && (await isFresh(state))) await writePolicy(state, adopt, now, snapshotKey);
  await policyFor(state, path, policy);
}

/** Before the release is there: were this lost, a fetched one would count as ours, and be signed anew. */
async function recordOrigin(
  { state, origin = 'local', now }: PublishOptions,
  { release, manifestSha256, records, roots }: VerifiedRelease,
): Promise<void> {
  if (await shelfOf(state).has(release)) return;
  const signers = signerFingerprints(signersOf(records, roots.own, []));
  await recordIngest(state, release, { time: now, origin, manifest: manifestSha256, signers });
}
