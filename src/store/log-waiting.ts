import { isThere } from '../files/read-if-there.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import type { LogEntry } from '../formats/records/log-entry.ts';
import { LOG_FILES, logPath, openLogFile, readCheckpoint, readOffset, scanEntries } from './log-files.ts';

/** What of a log is under its newest checkpoint, which is not verified, and what waits for a signature. */
export interface WaitingEntries {
  /** Entries under the checkpoint: the first that waits has this index. */
  readonly signed: number;
  /** Entries that wait. */
  readonly count: number;
}

/**
 * Goes through the entries that no checkpoint covers yet: their writer had no key, or died before it signed. Of a state
 * without a log there are none.
 *
 * @throws Refusal `malformed`, `drifted`; IoError.
 */
export async function readWaiting(
  state: string,
  onEntry: (entry: LogEntry) => void = () => {},
): Promise<WaitingEntries> {
  if (!(await isThere(logPath(state, LOG_FILES.entries)))) return { signed: 0, count: 0 };
  // The checkpoint first: what is signed meanwhile may be told of as waiting, and nothing that waits is left out.
  const signed = (await readCheckpoint(state))?.file.checkpoint.size ?? 0;
  const from = await endOf(state, signed);
  const entries = await openLogFile(state, LOG_FILES.entries);
  let count = 0;
  try {
    await scanEntries(entries, from, signed, ({ entry }) => {
      count += 1;
      onEntry(entry);
    });
  } finally {
    await entries.close().catch(() => {});
  }
  return { signed, count };
}

/** Where the first so many entries end, in bytes. */
async function endOf(state: string, count: number): Promise<number> {
  if (count === 0) return 0;
  const offsets = await openLogFile(state, LOG_FILES.offsets);
  try {
    return await readOffset(offsets, count - 1);
  } finally {
    await offsets.close().catch(() => {});
  }
}

/** `entry 41, renew of 2026-11-01T00:00:00Z: stable, arch/2026.11.01` */
export function entryInWords({ index, act, time, channel, release, origin }: LogEntry): string {
  const about = [channel, release, origin].filter((part) => part !== undefined).join(', ');
  return `entry ${index}, ${act} of ${isoSeconds(time)}${about && `: ${about}`}`;
}
