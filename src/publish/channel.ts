import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { isThere } from '../files/read-if-there.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import type { Snapshot } from '../formats/records/snapshot.ts';
import { channelHistory } from '../store/channels.ts';
import { openState } from '../store/state.ts';
import { policyFor } from '../store/state-policy.ts';
import { readCertificatesFile } from '../trust/certificates-file.ts';
import { day, defaultPolicy } from '../trust/policy.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import { type AnchorFolders, fittingRoots, readTrustRoots } from '../trust/trust-roots.ts';
import { Verifier } from '../trust/verifier.ts';
import {
  type ChannelOptions,
  demandChannel,
  demandChannelName,
  type MovedChannel,
  move,
  onRecord,
  snapshotFacts,
} from './channel-move.ts';

export interface ShowChannelOptions {
  readonly channel: string;
  readonly state: string;
  /** A PEM file; default: the state's own `anchors/snapshot.crt`. */
  readonly snapshotCertificate?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface ShownChannel {
  /** The oldest first. */
  readonly history: readonly Snapshot[];
  /** What is wrong with the current snapshot; undefined: it is verified and fresh. */
  readonly refusal: Refusal | undefined;
}

/** A channel's history, and whether its current snapshot holds. @throws UsageError where there is no such channel. */
export async function showChannel(options: ShowChannelOptions): Promise<ShownChannel> {
  const { channel, state, now } = options;
  demandChannelName(channel);
  const history = await channelHistory(state, channel);
  const current = await demandChannel(options);
  const snapshots = history.map(({ snapshot }) => snapshot);
  try {
    const path = options.snapshotCertificate ?? join(state, 'anchors', 'snapshot.crt');
    const signers = await readCertificatesFile(path);
    await verifySnapshot(channel, current.bytes, current.seal, signers, defaultPolicy(now), now);
    return { history: snapshots, refusal: undefined };
  } catch (error) {
    if (error instanceof Refusal) return { history: snapshots, refusal: error };
    throw error;
  }
}

/** A new snapshot of what the channel already names: needs the snapshot key and no other. */
export async function renewChannel(options: ChannelOptions): Promise<MovedChannel> {
  const { channel, now } = options;
  demandChannelName(channel);
  const state = await openState(options.state);
  try {
    return await onRecord(options, {}, async () => {
      const { snapshot } = await demandChannel(options);
      const { release, serial, manifest, bestBefore } = snapshot;
      const warnings =
        now > bestBefore
          ? [
              `${release} was best before ${day(bestBefore)}: machines start it no more until a newer release is published`,
            ]
          : [];
      const facts = { release, serial, manifest, bestBefore };
      return move(options, { act: 'renew', facts, warnings, makeKey: false });
    });
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

/** Goes back, on purpose and on record: a snapshot with a higher counter that names an older release. */
export async function rollbackChannel(options: RollbackOptions): Promise<MovedChannel> {
  const { release, now, channel } = options;
  demandChannelName(channel);
  if (!isReleaseId(release))
    throw new UsageError(`${JSON.stringify(release)} is no release; write NAME/VERSION.`);
  const roots = await readTrustRoots(options.anchors);
  const policy = await policyFor(options.state, options.policy);
  const state = await openState(options.state);
  try {
    return await onRecord(options, { release }, async () => {
      const { snapshot } = await demandChannel(options);
      if (snapshot.release === release) throw new UsageError(`${channel} is at ${release} already.`);
      const folder = join(state.folder, 'releases', release);
      if (!(await isThere(join(folder, RECORD.manifest)))) {
        throw new UsageError(`${release} was never published to ${options.state}.`);
      }
      const tree = new FolderTree(folder);
      const verdict = await new Verifier(await fittingRoots(tree, roots), policy, () => now).verify(tree);
      if (!verdict.release)
        throw verdict.refusal ?? new Refusal('no-verdict', `Nothing vouches for ${release}.`, { release });
      const facts = { ...snapshotFacts(verdict.release), rollbackFrom: snapshot.release };
      return await move(options, { act: 'rollback', facts, seals: verdict.records, makeKey: false });
    });
  } finally {
    await state.release();
  }
}
