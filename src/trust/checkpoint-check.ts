import { Refusal } from '../errors/refusal.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import type { Checkpoint, CheckpointFile } from '../formats/records/checkpoint.ts';
import { day, type Policy } from './policy.ts';
import { verifySnapshotSeal } from './snapshot-seal.ts';

/** Clocks that differ by a time zone are no reason to distrust a log. Milliseconds. */
const MARGIN = 86_400_000;

/**
 * Verifies a log's checkpoint: signed by the snapshot key, and not from the future. A log's own time stands or
 * falls with it, so key and algorithms are judged as of the reader's clock, whatever `policy.asOf` is.
 *
 * @param signers certificates of the snapshot key.
 * @throws Refusal `not-yet-valid`, `wrong-purpose`, and what a signature may be refused for.
 */
export async function verifyCheckpoint(
  { checkpoint, bytes, seal }: CheckpointFile,
  signers: readonly Certificate[],
  policy: Policy,
): Promise<Checkpoint> {
  const now = policy.clock;
  await verifySnapshotSeal('the checkpoint of the log', bytes, seal, signers, { ...policy, asOf: now }, now);
  if (checkpoint.time > now + MARGIN) {
    throw new Refusal(
      'not-yet-valid',
      `The checkpoint of the log is of ${day(checkpoint.time)}, and this machine's clock says ${day(now)}.`,
      { time: day(checkpoint.time), now: day(now) },
    );
  }
  return checkpoint;
}
