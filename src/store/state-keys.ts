import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { isThere } from '../files/read-if-there.ts';
import { isBucketState } from './s3/location.ts';

/*
 * A state may hold the snapshot key that signs for it (`private/`), where it is a folder. A bucket holds no private key:
 * whoever may read it could sign with it.
 */

/** Whether a state has a snapshot key of its own. @throws IoError */
export async function holdsSnapshotKey(state: string): Promise<boolean> {
  return !isBucketState(state) && (await isThere(join(state, 'private', 'snapshot.key')));
}

/** Throws a `UsageError` for a state that never holds a private key. */
export function demandHoldsKeys(state: string): void {
  if (!isBucketState(state)) return;
  throw new UsageError(
    `${state} is in a bucket, which holds no private key: name the folder of the one that signs its channels and log with --snapshot-key.`,
  );
}
