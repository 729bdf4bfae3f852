import { Refusal } from '../errors/refusal.ts';
import type { LogEntry } from '../formats/records/log-entry.ts';
import { readSnapshotKey, type SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { sealRecord } from '../signing/seal-record.ts';
import { certifiedSigner } from '../signing/signatories.ts';
import { type Act, recordAct, recordActs } from '../store/log.ts';
import type { SignCheckpoint } from '../store/log-store.ts';
import { isBucketState } from '../store/s3/location.ts';
import { readSnapshotAnchors } from '../store/state-anchors.ts';
import { fingerprint } from '../trust/chain.ts';

/** Signs checkpoints of the log, as snapshots are signed; their first lines tell them apart. */
export function checkpointSigner(key: SnapshotKey): SignCheckpoint {
  const signer = certifiedSigner('snapshot', key);
  return (checkpoint) => sealRecord(checkpoint, signer);
}

/**
 * Logs an act that needs no key itself: a refusal, a quarantine, a seal. A checkpoint follows where the state's
 * readers have been told of the key; else the next act that needs the key makes one, and says what is wrong with it.
 * The caller has opened the state (`openState`).
 *
 * @param snapshotKey a folder of the shape that `init` makes, or the key itself; default: the state's own key.
 */
export async function logAct(state: string, act: Act, snapshotKey?: string | SnapshotKey): Promise<LogEntry> {
  return recordAct(state, act, await knownSigner(state, snapshotKey));
}

/** The same for several acts, under one checkpoint. */
export async function logActs(
  state: string,
  acts: readonly Act[],
  snapshotKey?: string | SnapshotKey,
): Promise<LogEntry[]> {
  return recordActs(state, acts, await knownSigner(state, snapshotKey));
}

async function knownSigner(state: string, given?: string | SnapshotKey): Promise<SignCheckpoint | undefined> {
  // A bucket holds no private key.
  const named = given ?? (isBucketState(state) ? undefined : state);
  if (named === undefined) return undefined;
  try {
    const known = (await readSnapshotAnchors(state)).map(fingerprint);
    if (known.length === 0) return undefined;
    const key = typeof named === 'string' ? await readSnapshotKey(named) : named;
    return known.includes(fingerprint(key.certificate)) ? checkpointSigner(key) : undefined;
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}
