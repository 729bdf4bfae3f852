import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import type { Snapshot } from '../formats/records/snapshot.ts';
import { channelHistory, channelNames, readChannel, type StoredSnapshot } from '../store/channels.ts';
import { demandState } from '../store/state.ts';
import { withdrawnReason, withdrawnRefusal } from '../store/withdrawals.ts';
import { readCertificatesFile } from '../trust/certificates-file.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import { demandChannelName } from './publish.ts';

export interface ListChannelsRequest {
  readonly state: string;
  /** A PEM file; default: the state's own `anchors/snapshot.crt`. */
  readonly snapshotCertificate?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface ShowChannelRequest extends ListChannelsRequest {
  readonly channel: string;
}

export interface ListedChannel {
  readonly channel: string;
  /** Undefined where it could not be understood. */
  readonly snapshot: Snapshot | undefined;
  /** What is wrong with it; undefined: it is verified and fresh. */
  readonly refusal: Refusal | undefined;
}

export interface ShownChannel {
  /** The oldest first. */
  readonly history: readonly Snapshot[];
  /** What is wrong with the current snapshot; undefined: it is verified and fresh. */
  readonly refusal: Refusal | undefined;
}

/** Every channel, and whether its current snapshot holds. Throws a `UsageError` for a folder without a state; IoError. */
export async function listChannels(request: ListChannelsRequest): Promise<ListedChannel[]> {
  const { state } = request;
  await demandState(state);
  const rows: ListedChannel[] = [];
  for (const channel of await channelNames(state)) {
    try {
      const current = await readChannel(state, channel);
      if (!current) continue;
      rows.push({ channel, snapshot: current.snapshot, refusal: await judge(request, channel, current) });
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      rows.push({ channel, snapshot: undefined, refusal: error });
    }
  }
  return rows;
}

/** A channel's history, and whether its current snapshot holds. Throws a `UsageError` where there is no such channel. */
export async function showChannel(request: ShowChannelRequest): Promise<ShownChannel> {
  const { channel, state } = request;
  demandChannelName(channel);
  await demandState(state);
  const history = await channelHistory(state, channel);
  const current = await readChannel(state, channel);
  if (!current) throw new UsageError(`There is no channel ${channel} in ${state}.`);
  const refusal = await judge(request, channel, current);
  return { history: history.map(({ snapshot }) => snapshot), refusal };
}

async function judge(
  { state, snapshotCertificate, now }: ListChannelsRequest,
  channel: string,
  { snapshot, bytes, seal }: StoredSnapshot,
): Promise<Refusal | undefined> {
  try {
    const signers = await readCertificatesFile(snapshotCertificate ?? join(state, 'anchors', 'snapshot.crt'));
    await verifySnapshot(channel, bytes, seal, signers, defaultPolicy(now), now);
    const withdrawal = await withdrawnReason(state, snapshot.release);
    return withdrawal && withdrawnRefusal(withdrawal);
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
