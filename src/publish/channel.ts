import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { namesRelease, releaseFor, type Snapshot } from '../formats/records/snapshot.ts';
import {
  channelHistory,
  channelNames,
  channelStandsAt,
  readChannel,
  type StoredSnapshot,
} from '../store/channels.ts';
import { isBucketState } from '../store/s3/location.ts';
import { demandState, openExistingState } from '../store/state.ts';
import { demandSnapshotAnchors } from '../store/state-anchors.ts';
import { policyFor } from '../store/state-policy.ts';
import { chooseWebEntry } from '../store/web-entry.ts';
import { writeWebFolder } from '../store/web-folder.ts';
import { demandNotWithdrawn, withdrawnReason, withdrawnRefusal } from '../store/withdrawals.ts';
import { readCertificatesFile } from '../trust/certificates-file.ts';
import { day, defaultPolicy } from '../trust/policy.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import { type AnchorFolders, readTrustRoots } from '../trust/trust-roots.ts';
import {
  type ChannelOptions,
  demandChannel,
  demandChannelName,
  demandSnapshotKey,
  highestOf,
  type MovedChannel,
  move,
  onRecord,
  snapshotFacts,
} from './channel-move.ts';
import { batchFor } from './machine-batch.ts';
import { demandSerial, demandVerified, runGate } from './publish-gate.ts';
import { demandUnchanged, gateStored, type JudgedRelease, judgeStored } from './stored-release.ts';

export interface ListChannelsOptions {
  readonly state: string;
  /** A PEM file; default: the state's own `anchors/snapshot.crt`. */
  readonly snapshotCertificate?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface ShowChannelOptions extends ListChannelsOptions {
  readonly channel: string;
}

export interface ListedChannel {
  readonly channel: string;
  /** Undefined where it could not be understood. */
  readonly snapshot: Snapshot | undefined;
  /** What is wrong with it; undefined: it is verified and fresh. */
  readonly refusal: Refusal | undefined;
  /** Why no machine of an architecture may boot what it names; where there are such, the snapshot itself holds. */
  readonly withdrawn: ReadonlyMap<string, Refusal>;
}

export interface ShownChannel {
  /** The oldest first. */
  readonly history: readonly Snapshot[];
  /** What is wrong with the current snapshot; undefined: it is verified and fresh. */
  readonly refusal: Refusal | undefined;
}

/** Every channel, and whether its current snapshot holds. Throws a `UsageError` for a folder without a state; IoError. */
export async function listChannels(options: ListChannelsOptions): Promise<ListedChannel[]> {
  const { state } = options;
  await demandState(state);
  const rows: ListedChannel[] = [];
  for (const channel of await channelNames(state)) {
    try {
      const current = await readChannel(state, channel);
      if (!current) continue;
      rows.push({ channel, snapshot: current.snapshot, ...(await judge(options, channel, current)) });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      rows.push({ channel, snapshot: undefined, refusal: error, withdrawn: new Map() });
    }
  }
  return rows;
}

/** A channel's history, and whether its current snapshot holds. Throws a `UsageError` where there is no such channel. */
export async function showChannel(options: ShowChannelOptions): Promise<ShownChannel> {
  const { channel, state } = options;
  demandChannelName(channel);
  await demandState(state);
  const history = await channelHistory(state, channel);
  const current = await demandChannel(options);
  const { refusal } = await judge(options, channel, current);
  return { history: history.map(({ snapshot }) => snapshot), refusal };
}

async function judge(
  { state, snapshotCertificate, now }: ListChannelsOptions,
  channel: string,
  { snapshot, bytes, seal }: StoredSnapshot,
): Promise<Pick<ListedChannel, 'refusal' | 'withdrawn'>> {
  const withdrawn = new Map<string, Refusal>();
  try {
    const signers = snapshotCertificate
      ? await readCertificatesFile(snapshotCertificate)
      : await demandSnapshotAnchors(state);
    await verifySnapshot(channel, bytes, seal, signers, defaultPolicy(now), now);
    for (const { arch, release } of snapshot.releases) {
      const withdrawal = await withdrawnReason(state, release);
      if (withdrawal) withdrawn.set(arch, withdrawnRefusal(withdrawal));
    }
    return { refusal: [...withdrawn.values()][0], withdrawn };
  } catch (error) {
    if (error instanceof Refusal) return { refusal: error, withdrawn };
    throw error;
  }
}

/** A new snapshot of all that the channel already names: needs the snapshot key and no other. */
export async function renewChannel(options: ChannelOptions): Promise<MovedChannel> {
  const { channel, now } = options;
  demandChannelName(channel);
  const state = await openExistingState(options.state);
  try {
    return await onRecord(options, {}, async () => {
      const { snapshot } = await demandChannel(options);
      const warnings = snapshot.releases
        .filter(({ bestBefore }) => now > bestBefore)
        .map(
          ({ release, bestBefore }) =>
            `${release} was best before ${day(bestBefore)}: a server and machines with an overlay refuse it; publish a newer release, or sign it anew with "bootseal resign"`,
        );
      return move(options, { act: 'renew', facts: undefined, warnings, makeKey: false });
    });
  } finally {
    await state.release();
  }
}

export interface ApplyMachinesOptions extends ChannelOptions {
  /** What the releases and scripts must lead to. */
  readonly anchors: AnchorFolders;
}

/**
 * Makes what was written about machines count: compiles and signs the scripts of a channel's machines, and a new snapshot
 * that names them. What the channel names stays.
 */
export async function applyMachines(options: ApplyMachinesOptions): Promise<MovedChannel> {
  const { channel } = options;
  demandChannelName(channel);
  const roots = await readTrustRoots(options.anchors);
  await demandState(options.state);
  await demandSnapshotKey(options, false);
  const policy = await policyFor(options.state);
  const state = await openExistingState(options.state);
  try {
    return await onRecord(options, {}, async () => {
      await demandChannel(options);
      await policyFor(state.folder, undefined, policy);
      const batch = batchFor({ ...options, roots, policy, keys: options.scriptKeys });
      return move(options, { act: 'apply', facts: undefined, batch, makeKey: false });
    });
  } finally {
    await state.release();
  }
}

export interface EntryOptions {
  readonly state: string;
  readonly channel: string;
}

/**
 * Says whose release machines begin with at a plain web server, where a state has several channels.
 *
 * @returns what an operator should know: one sentence each.
 * @throws UsageError where there is no such channel; IoError.
 */
export async function chooseEntry({ state: folder, channel }: EntryOptions): Promise<readonly string[]> {
  demandChannelName(channel);
  if (isBucketState(folder))
    throw new UsageError(
      `${folder} is a bucket, which has no folder for web servers; what machines begin with there is "serve"’s to say.`,
    );
  const state = await openExistingState(folder);
  try {
    await chooseWebEntry(state.folder, channel);
    return await writeWebFolder(state.folder);
  } finally {
    await state.release();
  }
}

export interface RollbackOptions extends ChannelOptions {
  /** `arch/2026.11.01`: published before. */
  readonly release: string;
  /** Several while a CA is being replaced: the release is judged by those it was sealed for. */
  readonly anchors: AnchorFolders;
  /** A policy file, which must say what the state's own says. */
  readonly policy?: string;
}

/**
 * Goes back, on purpose and on record: a snapshot with a higher counter that names an older release. Only its own
 * architecture goes back.
 */
export function rollbackChannel(options: RollbackOptions): Promise<MovedChannel> {
  return moveToStored(options, false);
}

/**
 * Moves a channel to a release that the state holds already. One that is newer than all that the channel ever named
 * goes through the gate as if it were published to it; any other is gone back to, as by `rollbackChannel`.
 */
export function moveChannelTo(options: RollbackOptions): Promise<MovedChannel> {
  return moveToStored(options, true);
}

async function moveToStored(options: RollbackOptions, mayGoForward: boolean): Promise<MovedChannel> {
  const { release, channel, now } = options;
  demandChannelName(channel);
  if (!isReleaseId(release))
    throw new UsageError(`${JSON.stringify(release)} is no release; write NAME/VERSION.`);
  const roots = await readTrustRoots(options.anchors);
  await demandState(options.state);
  await demandSnapshotKey(options, false);
  const policy = await policyFor(options.state, options.policy);
  await demandElsewhere(options);
  // Before the state is locked, as publish does: a large release keeps nobody else from writing.
  const { judged, gated } = mayGoForward
    ? await gateStored(options.state, release, roots, policy, now, (one) => gateOf(options, one, policy))
    : { judged: await judgeStored(options.state, release, roots, policy, now), gated: undefined };
  const state = await openExistingState(options.state);
  try {
    return await onRecord(options, { release }, async () => {
      const follows = await channelStandsAt(state.folder, channel);
      await demandElsewhere(options);
      await demandNotWithdrawn(state.folder, release);
      if (judged instanceof Refusal) throw judged;
      const { release: verified } = judged.verdict;
      await demandUnchanged(state.folder, verified);
      await policyFor(state.folder, options.policy, policy);
      const facts = snapshotFacts(verified);
      const { arch } = verified.manifest;
      const seals = verified.records;
      const batch = batchFor({ ...options, roots, policy, keys: options.scriptKeys }, verified);
      if (!gated) {
        // What nobody verifies on a machine was let go by a policy, which may be another by now.
        demandVerified(verified.manifest, policy.publish);
        const back = { ...facts, rollbackFrom: await lastRelease(state.folder, channel, arch) };
        return await move(options, { act: 'rollback', facts: back, follows, seals, batch, makeKey: false });
      }
      if (gated.refusal) throw gated.refusal;
      // Another may have moved the channel further meanwhile.
      demandSerial(verified.manifest, await highestOf(options, arch), policy.publish, now);
      const { warnings } = gated;
      return await move(options, {
        act: 'publish',
        facts,
        follows,
        seals,
        batch,
        warnings,
        makeKey: false,
      });
    });
  } finally {
    await state.release();
  }
}

/** A channel is moved to what it does not name yet. @throws UsageError */
async function demandElsewhere(options: RollbackOptions): Promise<void> {
  const { snapshot } = await demandChannel(options);
  if (namesRelease(snapshot, options.release))
    throw new UsageError(`${options.channel} is at ${options.release} already.`);
}

/** What a channel named last for an architecture; one that was withdrawn may have been left out since. */
async function lastRelease(state: string, channel: string, arch: string): Promise<string> {
  const history = await channelHistory(state, channel);
  const named = history.map(({ snapshot }) => releaseFor(snapshot, arch)).filter((one) => one !== undefined);
  const last = named.at(-1);
  if (last) return last.release;
  throw new UsageError(`${channel} never named a release for ${arch}: there is nothing to go back from.`);
}

/** What the gate says of a release that is newer than all before it; undefined for one that is not. */
async function gateOf(
  options: RollbackOptions,
  { verdict, verifier }: JudgedRelease,
  policy: PolicyFile,
): Promise<{ readonly refusal: Refusal | undefined; readonly warnings: readonly string[] } | undefined> {
  const highest = await highestOf(options, verdict.release.manifest.arch);
  if (!highest) return undefined;
  const { release } = verdict.release.manifest;
  const older = verdict.release.manifest.serial <= highest.serial;
  // Back to where the channel was needs no gate, which let that release pass once; another older one is no way back.
  const history = older ? await channelHistory(options.state, options.channel) : [];
  if (history.some(({ snapshot }) => namesRelease(snapshot, release))) return undefined;
  const { rows, refusal } = await runGate({ verdict, verifier, rules: policy.publish, highest });
  return {
    refusal,
    warnings: rows.flatMap(({ gate, warnings }) => warnings.map((text) => `${gate} ${text}`)),
  };
}
