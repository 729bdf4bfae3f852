import { isoSeconds } from '../formats/records/lines.ts';
import type { LogEntry } from '../formats/records/log-entry.ts';
import { readCheckpoint } from './log-files.ts';
import { logOf } from './log-of.ts';
import type { LogStore } from './log-store.ts';

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
  state: string | LogStore,
  onEntry: (entry: LogEntry) => void = () => {},
): Promise<WaitingEntries> {
  const log = logOf(state);
  if (!(await log.begun())) return { signed: 0, count: 0 };
  // The checkpoint first: what is signed meanwhile may be told of as waiting, and nothing that waits is left out.
  const signed = (await readCheckpoint(log))?.file.checkpoint.size ?? 0;
  let count = 0;
  await log.scan(signed, ({ entry }) => {
    count += 1;
    onEntry(entry);
  });
  return { signed, count };
}

/** `entry 41, renew of 2026-11-01T00:00:00Z: stable, arch/2026.11.01` */
export function entryInWords({ index, act, time, channel, release, origin }: LogEntry): string {
  const about = [channel, release, origin].filter((part) => part !== undefined).join(', ');
  return `entry ${index}, ${act} of ${isoSeconds(time)}${about && `: ${about}`}`;
}
