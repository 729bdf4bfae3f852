import { readFile } from 'node:fs/promises';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { UsageError } from '../errors/usage.ts';
import { type Checkpoint, decodeCheckpointFile } from '../formats/records/checkpoint.ts';
import { logActs } from '../publish/log-act.ts';
import type { Act } from '../store/log.ts';
import { readLogCertificates } from '../store/log-reader.ts';
import { logState, namesCheckpoint, restoredFrom } from '../store/log-restored.ts';
import { writeRestored } from '../store/restored.ts';
import { openExistingState } from '../store/state.ts';
import { decodeOr } from '../trust/check.ts';
import { verifyCheckpoint } from '../trust/checkpoint-check.ts';
import { defaultPolicy } from '../trust/policy.ts';

/** A log that lost more than this is not brought back by a command. */
const MAX_LOST = 100_000;
/** The highest counter that a snapshot is given by hand; one an hour would take a hundred thousand years. */
const MAX_COUNTER = 1_000_000_000;

export interface RestoreStateOptions {
  readonly state: string;
  /** The highest counter of a snapshot that anybody saw, of any channel. */
  readonly after: number;
  /** Path of the newest checkpoint that anybody kept. */
  readonly checkpoint: string;
  /** A folder of the shape that `init` makes; default: the state's own. It signs the log. */
  readonly snapshotKey?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface RestoredState {
  /** What others saw. */
  readonly seen: Checkpoint;
  /** Entries that others saw and this log does not have. */
  readonly lost: number;
  /** Entries now. */
  readonly size: number;
  /** False: the log says so already. */
  readonly changed: boolean;
}

/**
 * Lets a state that was put back from a backup go on above what others have seen of it: every channel's next snapshot has
 * a higher counter, and the log is longer. What was lost is not invented: the log says that the state was restored, and
 * has an entry `lost` in the place of each one that only others saw. Auditors who kept a checkpoint of that part are told
 * so, and are right to ask.
 *
 * @throws UsageError; Refusal `mixed-releases` for a checkpoint of another log, `drifted` where it is of this log's size
 *   and says something else, and what `verifyCheckpoint` refuses; IoError.
 */
export async function restoreState(options: RestoreStateOptions): Promise<RestoredState> {
  const { after, checkpoint: path, snapshotKey, now } = options;
  if (!Number.isSafeInteger(after) || after < 1 || after > MAX_COUNTER)
    throw new UsageError(`A counter is a whole number from 1 to ${MAX_COUNTER}.`);
  const bytes = await readFile(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  const file = decodeOr(path, () => decodeCheckpointFile(bytes));
  const state = await openExistingState(options.state);
  try {
    const signers = await readLogCertificates(state.folder);
    const seen = await verifyCheckpoint(file, signers, defaultPolicy(now));
    const log = await logState(state.folder, seen.size);
    if (seen.log !== log.name) {
      throw new Refusal(
        'mixed-releases',
        `${path} is of log ${seen.log}, and that of ${state.folder} is ${log.name}.`,
        {
          log: seen.log,
          name: log.name,
        },
      );
    }
    const told = log.restored.some((origin) => namesCheckpoint(origin, seen));
    if (!told && log.root !== undefined && log.root !== seen.root) {
      throw new Refusal(
        'drifted',
        `The log in ${state.folder} has ${log.size} entries, and the first ${seen.size} are not those of ${path}: it is no earlier state of it.`,
        { size: log.size, seen: seen.size },
      );
    }
    // First, and harmless alone: counters go up.
    await writeRestored(state.folder, after, now);
    const lost = Math.max(0, seen.size - log.size);
    if (lost > MAX_LOST)
      throw new UsageError(
        `${lost} entries were lost; a log that lost so many is begun anew: move log/ aside.`,
      );
    if (told && lost === 0) return { seen, lost: 0, size: log.size, changed: false };
    const acts: Act[] = [
      { time: now, act: 'restore-state', counter: after, origin: restoredFrom(seen) },
      ...Array.from({ length: lost }, (): Act => ({ time: now, act: 'lost' })),
    ];
    await logActs(state.folder, acts, snapshotKey);
    return { seen, lost, size: log.size + acts.length, changed: true };
  } finally {
    await state.release();
  }
}
