import { UsageError } from '../errors/usage.ts';
import { decodeScriptBatch } from '../formats/records/script-batch.ts';
import { logActs } from '../publish/log-act.ts';
import { channelHistory, channelNames } from '../store/channels.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { originOf, readProvenance } from '../store/provenance.ts';
import { removeFromFolder } from '../store/remove-release.ts';
import { isBucketState } from '../store/s3/location.ts';
import { readBatch } from '../store/script-batches.ts';
import { shelfOf } from '../store/shelf-of.ts';
import { openState } from '../store/state.ts';
import { decodeOr } from '../trust/check.ts';

export interface KeepOptions {
  readonly state: string;
  /** How many releases stay beside those that are named. */
  readonly keep: number;
  readonly snapshotKey?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** Throws a `UsageError` where old releases cannot be taken away. */
export function demandCanKeep(state: string): void {
  if (!isBucketState(state)) return;
  throw new UsageError(`${state} is in a bucket, where no release is taken away: leave --keep out.`);
}

/**
 * Takes old releases of an upstream out of `releases/`, the oldest first. None goes that a snapshot names which has not
 * ended, of whatever channel: machines that began with it may still run on it, and mirrors of this one may be at it. Nor
 * one that scripts start, nor one that was not fetched. What they consist of stays until it is collected, seven days after
 * nothing refers to it, and longer where a process has it open.
 *
 * @returns what is gone, on record in the log.
 */
export async function keepReleases({
  state: folder,
  keep,
  snapshotKey,
  now,
}: KeepOptions): Promise<string[]> {
  demandCanKeep(folder);
  const state = await openState(folder);
  try {
    const named = await namedReleases(folder, now);
    const old: { readonly release: string; readonly since: number; readonly manifest: string }[] = [];
    for (const release of await shelfOf(folder).ids()) {
      if (named.has(release)) continue;
      const provenance = await readProvenance(folder, release);
      const last = provenance?.ingests.at(-1);
      if (!last || originOf(provenance).origin === 'local') continue;
      old.push({ release, since: Date.parse(last.time), manifest: last.manifest });
    }
    const gone = old.sort((a, b) => b.since - a.since || (a.release < b.release ? 1 : -1)).slice(keep);
    await logActs(
      folder,
      gone.map(({ release, manifest }) => ({ time: now, act: 'remove', release, manifest })),
      snapshotKey,
    );
    for (const { release } of gone) await removeFromFolder(folder, release);
    return gone.map(({ release }) => release).sort();
  } finally {
    await state.release();
  }
}

async function namedReleases(state: string, now: number): Promise<Set<string>> {
  const named = new Set<string>();
  const records = recordsOf(state);
  for (const channel of await channelNames(state)) {
    const history = await channelHistory(state, channel);
    for (const [index, { snapshot }] of history.entries()) {
      if (index < history.length - 1 && snapshot.expires <= now) continue;
      for (const { release } of snapshot.releases) named.add(release);
      if (snapshot.scripts === undefined) continue;
      const bytes = await readBatch(records, snapshot.scripts);
      const batch = decodeOr(`the batch of scripts of ${channel}`, () => decodeScriptBatch(bytes));
      for (const { release } of batch.scripts) if (release !== undefined) named.add(release);
    }
  }
  return named;
}
