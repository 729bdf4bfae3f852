import { Refusal } from '../errors/refusal.ts';
import type { LogEntry } from '../formats/records/log-entry.ts';
import { encodeLogProof } from '../formats/records/log-proof.ts';
import { inclusionRanges } from '../formats/records/merkle.ts';
import { decodeOr } from '../trust/check.ts';
import {
  type FoundEntry,
  LOG_FILES,
  openLogFile,
  rangeHash,
  readCheckpoint,
  readSealList,
  scanEntries,
} from './log-files.ts';

/** Every entry, the oldest first. Throws `absent`, `malformed`, `drifted`. */
export async function readLogEntries(
  state: string,
  onEntry: (found: FoundEntry) => void | Promise<void>,
): Promise<void> {
  const entries = await openLogFile(state, LOG_FILES.entries);
  try {
    await scanEntries(entries, 0, 0, onEntry);
  } finally {
    await entries.close().catch(() => {});
  }
}

/**
 * Makes a proof file for the newest entry that `wanted` picks, under the newest checkpoint. Nothing is verified
 * here: whoever is given it does.
 *
 * @param what names the entry in the refusal: `entry about arch/2026.11.01`.
 * @throws Refusal `absent` where there is no such entry, no checkpoint over it, or its list of seals is gone.
 */
export async function makeLogProof(
  state: string,
  what: string,
  wanted: (entry: LogEntry) => boolean,
): Promise<Uint8Array> {
  const checkpoint = await readCheckpoint(state);
  let found: FoundEntry | undefined;
  await readLogEntries(state, (entry) => {
    if (wanted(entry.entry)) found = entry;
  });
  if (!found) throw new Refusal('absent', `The log in ${state} has no ${what}.`, { path: state });
  const { index, entry, bytes } = found;
  const size = checkpoint?.file.checkpoint.size ?? 0;
  if (!checkpoint || index >= size) {
    throw new Refusal(
      'absent',
      `Entry ${index} of the log is under no checkpoint yet; the next act that has the key makes one.`,
      { index, size },
    );
  }
  const seals = entry.seals === undefined ? undefined : await readSealList(state, entry.seals);
  if (entry.seals !== undefined && !seals) {
    throw new Refusal(
      'absent',
      `The list of seals that entry ${index} of the log names is gone or changed.`,
      {
        index,
      },
    );
  }
  const hashes = await openLogFile(state, LOG_FILES.hashes);
  try {
    const path: Uint8Array[] = [];
    for (const range of inclusionRanges(index, size)) path.push(await rangeHash(hashes, range));
    return decodeOr('The proof', () => encodeLogProof(path, bytes, seals, checkpoint.bytes));
  } finally {
    await hashes.close().catch(() => {});
  }
}
