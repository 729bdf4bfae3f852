import type { SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { openStateWhenFree } from '../store/state.ts';
import { markWebBehind, refreshWeb } from '../store/web-folder.ts';
import { type WithdrawFacts, type WithdrawnRelease, withdrawStored } from '../store/withdraw.ts';
import { logAct } from './log-act.ts';

export interface WithdrawOptions extends WithdrawFacts {
  readonly state: string;
  /** Who withdraws it, for the log; default: nobody is named. */
  readonly by?: string | undefined;
  /** A folder of the shape that `init` makes, or the key itself; default: the state's own. It signs the log. */
  readonly snapshotKey?: string | SnapshotKey | undefined;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Takes a release out of use for good: it is never served, published, exported or rolled back to again. On record in the
 * log before it takes effect. What machines or copies elsewhere hold of it, nobody can take back.
 *
 * @throws UsageError for a release that was never published here; IoError; a `Refusal` of the log.
 */
export async function withdrawRelease(options: WithdrawOptions): Promise<WithdrawnRelease> {
  const { by, snapshotKey, now } = options;
  const state = await openStateWhenFree(options.state);
  try {
    const { folder } = state;
    await markWebBehind(folder);
    const withdrawn = await withdrawStored(folder, options, now, by, (act) =>
      logAct(folder, act, snapshotKey),
    );
    await refreshWeb(folder);
    return withdrawn;
  } finally {
    await state.release();
  }
}
