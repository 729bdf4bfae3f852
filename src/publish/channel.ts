import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import type { Snapshot } from '../formats/records/snapshot.ts';
import { channelHistory, readChannel } from '../store/channels.ts';
import { readCertificatesFile } from '../trust/certificates-file.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { verifySnapshot } from '../trust/snapshot-check.ts';
import { demandChannelName } from './publish.ts';

export interface ShowChannelRequest {
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

/** A channel's history, and whether its current snapshot holds. Throws `absent` where there is no such channel. */
export async function showChannel(request: ShowChannelRequest): Promise<ShownChannel> {
  const { channel, state, now } = request;
  demandChannelName(channel);
  const history = await channelHistory(state, channel);
  const current = await readChannel(state, channel);
  if (!current) throw new Refusal('absent', `There is no channel ${channel} in ${state}.`, { channel });
  const snapshots = history.map(({ snapshot }) => snapshot);
  try {
    const path = request.snapshotCertificate ?? join(state, 'anchors', 'snapshot.crt');
    const signers = await readCertificatesFile(path);
    await verifySnapshot(channel, current.bytes, current.seal, signers, defaultPolicy(now), now);
    return { history: snapshots, refusal: undefined };
  } catch (error) {
    if (error instanceof Refusal) return { history: snapshots, refusal: error };
    throw error;
  }
}
