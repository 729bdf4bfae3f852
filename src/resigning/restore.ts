import { UsageError } from '../errors/usage.ts';
import { openExistingState } from '../store/state.ts';
import { policyFor } from '../store/state-policy.ts';
import { demandNotWithdrawn } from '../store/withdrawals.ts';
import { readStanding, readTrusted } from './standing.ts';
import { bringBack, factsOf, type ResignRow, rowOf, type Stored, treeOf } from './stored.ts';

export interface RestoreRequest {
  /** The STATE folder. */
  readonly state: string;
  /** `NAME/VERSION`, in quarantine. */
  readonly release: string;
  /** An `init` folder, or the anchors alone, whose seals count. */
  readonly anchors: readonly string[];
  /** A policy file (TOML), which must say what the state's own says. */
  readonly policy?: string;
  /** A folder of the shape that `init` makes; default: the state's own. It signs the log. */
  readonly snapshotKey?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Takes a release back from quarantine as it is, where its seals hold. Signs nothing.
 *
 * @throws Refusal with the reason why they do not; it stays where it is then.
 */
export async function restoreRelease(request: RestoreRequest): Promise<ResignRow> {
  const state = await openExistingState(request.state);
  try {
    return await restoreOne(request);
  } finally {
    await state.release();
  }
}

async function restoreOne(request: RestoreRequest): Promise<ResignRow> {
  const { state, release, anchors, now, policy, snapshotKey } = request;
  const stored: Stored = {
    release,
    tree: await treeOf(state, release),
    ...(await factsOf(state, release)),
  };
  if (!stored.mark) throw new UsageError(`${release} is not in quarantine in ${state}.`);
  await demandNotWithdrawn(state, release);
  const file = await policyFor(state, policy);
  const trusted = await readTrusted(anchors, file.at(now, now), now);
  const standing = await readStanding(stored.tree, trusted);
  await bringBack({ state, now, snapshotFolder: snapshotKey }, stored, standing);
  return rowOf(stored, { outcome: 'restored' });
}
