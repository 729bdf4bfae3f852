import type { LogEntry } from '../formats/records/log-entry.ts';
import { readCheckpoint } from './log-files.ts';
import { logOf } from './log-of.ts';
import type { LogStore } from './log-store.ts';

/** Some entries of a log, as they stand there: whoever verifies reads all of it (`checkLog`). */
export interface LogPage {
  /** The newest first. */
  readonly entries: readonly LogEntry[];
  /** Entries of the whole log. */
  readonly size: number;
  /** Entries under the newest checkpoint, which is not verified: the first that waits for a signature has this index. */
  readonly signed: number;
}

/**
 * The newest entries, by where the log's own records say that they stand: nothing else is read.
 *
 * @param before only those of a smaller index.
 * @throws Refusal `malformed`, `drifted`; IoError.
 */
export async function readLogPage(state: string | LogStore, most: number, before?: number): Promise<LogPage> {
  const log = logOf(state);
  if (!(await log.begun())) return { entries: [], size: 0, signed: 0 };
  // The checkpoint first: what is signed meanwhile may be told of as waiting, and nothing that waits is left out.
  const signed = (await readCheckpoint(log))?.file.checkpoint.size ?? 0;
  const size = await log.size();
  const to = Math.min(size, before ?? size);
  const from = Math.max(0, to - most);
  const entries = to <= from ? [] : await log.entries(from, to);
  return { entries: entries.reverse(), size, signed };
}
