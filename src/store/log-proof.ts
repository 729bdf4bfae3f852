import { Refusal } from '../errors/refusal.ts';
import type { LogEntry } from '../formats/records/log-entry.ts';
import { encodeLogProof } from '../formats/records/log-proof.ts';
import { inclusionRanges } from '../formats/records/merkle.ts';
import { decodeOr } from '../trust/check.ts';
import { readCheckpoint, readSealList, takenAway } from './log-files.ts';
import { logOf } from './log-of.ts';
import type { FoundEntry, LogStore } from './log-store.ts';

/**
 * Every entry, the oldest first. Throws `absent`, `malformed`, `drifted`, which it is too where the checkpoint is over more
 * entries than there are.
 */
export async function readLogEntries(
  state: string | LogStore,
  onEntry: (found: FoundEntry) => void | Promise<void>,
): Promise<void> {
  const log = logOf(state);
  const signed = (await readCheckpoint(log))?.file.checkpoint.size ?? 0;
  const { size } = await log.scan(0, onEntry);
  if (size < signed) throw takenAway(log, signed, size);
}

/**
 * Makes a proof file for the newest entry that `wanted` picks, under the newest checkpoint. Nothing is verified
 * here: whoever is given it does.
 *
 * @param what names the entry in the refusal: `entry about arch/2026.11.01`.
 * @throws Refusal `absent` where there is no such entry, no checkpoint over it, or its list of seals is gone.
 */
export async function makeLogProof(
  state: string | LogStore,
  what: string,
  wanted: (entry: LogEntry) => boolean,
): Promise<Uint8Array> {
  const log = logOf(state);
  const checkpoint = await readCheckpoint(log);
  let found: FoundEntry | undefined;
  await readLogEntries(log, (entry) => {
    if (wanted(entry.entry)) found = entry;
  });
  if (!found) throw new Refusal('absent', `The log in ${log.where} has no ${what}.`, { path: log.where });
  const { index, entry, bytes } = found;
  const size = checkpoint?.file.checkpoint.size ?? 0;
  if (!checkpoint || index >= size) {
    throw new Refusal(
      'absent',
      `Entry ${index} of the log is under no checkpoint yet; the next act that has the key makes one.`,
      { index, size },
    );
  }
  const seals = entry.seals === undefined ? undefined : await readSealList(log, entry.seals);
  if (entry.seals !== undefined && !seals) {
    throw new Refusal(
      'absent',
      `The list of seals that entry ${index} of the log names is gone or changed.`,
      {
        index,
      },
    );
  }
  const path = await log.rangeHashes(inclusionRanges(index, size));
  return decodeOr('The proof', () => encodeLogProof(path, bytes, seals, checkpoint.bytes));
}
