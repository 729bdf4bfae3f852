import type { Checkpoint } from '../formats/records/checkpoint.ts';
import { readLogName } from './log-files.ts';
import { logOf } from './log-of.ts';
import { readLogEntries } from './log-proof.ts';
import type { LogStore } from './log-store.ts';

/** What an entry `restore-state` says: up to where others had seen a log of which a backup held less. */

/** For the entry's line `origin`: `log NAME, size 41, root <sha256>`. */
export function restoredFrom({ log, size, root }: Checkpoint): string {
  return `log ${log}, size ${size}, root ${root}`;
}

export function namesCheckpoint(origin: string, checkpoint: Checkpoint): boolean {
  return origin === restoredFrom(checkpoint);
}

/** What a log is, beside one that others saw. */
export interface LogState {
  readonly name: string;
  readonly size: number;
  /** Of its first `at` entries, lower-case hex; undefined where it has fewer. */
  readonly root: string | undefined;
  /** Origins of its entries `restore-state`. */
  readonly restored: readonly string[];
}

/** Reads every entry. Throws `absent`, `malformed`, `drifted`. */
export async function logState(state: string | LogStore, at: number): Promise<LogState> {
  const log = logOf(state);
  const name = await readLogName(log);
  const restored: string[] = [];
  let size = 0;
  await readLogEntries(log, ({ entry: { act, origin } }) => {
    size += 1;
    if (act === 'restore-state' && origin !== undefined) restored.push(origin);
  });
  if (size < at) return { name, size, root: undefined, restored };
  const [root] = await log.rangeHashes([{ from: 0, to: at }]);
  return { name, size, root: root && Buffer.from(root).toString('hex'), restored };
}
