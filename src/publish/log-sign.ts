import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import type { LogEntry } from '../formats/records/log-entry.ts';
import { readSnapshotKey, type SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { TransparencyLog } from '../store/log.ts';
import { findLogName } from '../store/log-files.ts';
import { readWaiting } from '../store/log-waiting.ts';
import { isBucketState } from '../store/s3/location.ts';
import { openExistingState } from '../store/state.ts';
import { readSnapshotAnchors, snapshotAnchorsName } from '../store/state-anchors.ts';
import { fingerprint } from '../trust/chain.ts';
import { checkpointSigner } from './log-act.ts';

export interface SignLogOptions {
  readonly state: string;
  /** A folder of the shape that `init` makes, or the key itself; default: the state's own. */
  readonly snapshotKey?: string | SnapshotKey;
}

export interface SignedLog {
  /** Entries, all of them under the checkpoint now. */
  readonly size: number;
  /** Those that had waited, the oldest first; at most `MOST_TOLD`. */
  readonly entries: readonly LogEntry[];
  /** How many had waited. */
  readonly signed: number;
}

/** A person reads what was signed; nobody reads a thousand lines. */
export const MOST_TOLD = 50;

/**
 * Signs the log's head where entries wait for it: they were written by somebody without the key. What the last
 * checkpoint covers must still be so.
 *
 * @throws UsageError where there is no log, or the key is not the one that the state's readers are told of; a `Refusal`
 *   of the key or the log; IoError.
 */
export async function signLog({ state: folder, snapshotKey }: SignLogOptions): Promise<SignedLog> {
  const key = typeof snapshotKey === 'object' ? snapshotKey : await keyOf(folder, snapshotKey);
  const state = await openExistingState(folder);
  try {
    await demandTold(folder, key);
    if ((await findLogName(folder)) === undefined)
      throw new UsageError(`There is no log in ${folder}: nothing happened there yet.`);
    const log = await TransparencyLog.open(folder);
    try {
      // Whoever signs has read it: each entry is decoded, and told. In a bucket there may be others by now.
      const { size } = log;
      const entries: LogEntry[] = [];
      const { signed: before } = await readWaiting(folder, (entry) => {
        if (entry.index < size && entries.length < MOST_TOLD) entries.push(entry);
      });
      const signed = Math.max(0, size - before);
      if (signed > 0) await log.writeCheckpoint(checkpointSigner(key));
      return { size, entries, signed };
    } finally {
      await log.close();
    }
  } finally {
    await state.release();
  }
}

async function keyOf(state: string, given: string | undefined): Promise<SnapshotKey> {
  const folder = given ?? (isBucketState(state) ? undefined : state);
  const none = (options?: ErrorOptions) =>
    new UsageError(
      `${folder ?? state} has no snapshot key: name the folder of the one that signs its log with --snapshot-key, or ask a keyholder with --keyholder.`,
      options,
    );
  // A bucket holds no private key.
  if (folder === undefined) throw none();
  try {
    return await readSnapshotKey(folder);
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') throw none({ cause: error });
    throw error;
  }
}

/**
 * Whether this is the folder of another site: readers of the state know none of the keys in it. While a key is being
 * replaced they know one of them.
 *
 * @throws UsageError
 */
export async function demandOfState(state: string, { accepted }: SnapshotKey): Promise<void> {
  const known = (await readSnapshotAnchors(state)).map(fingerprint);
  if (known.length === 0) return;
  if (accepted.some((certificate) => known.includes(fingerprint(certificate)))) return;
  throw new UsageError(
    `${snapshotAnchorsName(state)} holds none of these snapshot keys, so readers of ${state} would refuse what they sign; they may be the keys of another site.`,
  );
}

/** A checkpoint by a key that nobody was told of would make the whole log unreadable to those who check it. */
async function demandTold(state: string, key: SnapshotKey): Promise<void> {
  const known = (await readSnapshotAnchors(state)).map(fingerprint);
  if (known.includes(fingerprint(key.certificate))) return;
  throw new UsageError(
    known.length === 0
      ? `Readers of ${state} know no snapshot key yet: its first publishing tells them.`
      : `${snapshotAnchorsName(state)} does not hold this snapshot key; what it signs, readers of ${state} would refuse.`,
  );
}
