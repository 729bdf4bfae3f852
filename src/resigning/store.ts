import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { readSnapshotKey, type SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { Signing } from '../signing/sealer.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { quarantinedReleases, storedReleases } from '../store/quarantine.ts';
import { endResignJob, type ResignJob, readResignJob, writeResignJob } from '../store/resign-job.ts';
import { demandState, openExistingState } from '../store/state.ts';
import { demandHoldsKeys, holdsSnapshotKey } from '../store/state-keys.ts';
import { policyFor } from '../store/state-policy.ts';
import { demandMovable } from './next-snapshot.ts';
import { resignOne } from './release.ts';
import type { Batch, ResignRow } from './stored.ts';
import { prepareResign, type ResignRequest, wholeSeconds } from './tree.ts';

export interface ResignStoreRequest extends ResignRequest {
  /** The STATE folder. */
  readonly state: string;
  /** `NAME/VERSION`: these alone. Default: every release, those in quarantine too. */
  readonly only?: readonly string[];
  /** A folder of the shape that `init` makes; default: the state's own. Needed where a channel names a release. */
  readonly snapshotKey?: string;
  /** Releases done, and how many there are. May throw, to end a batch between two releases. */
  readonly onProgress?: (done: number, of: number, release: string) => void;
}

export interface ResignedStore {
  readonly rows: readonly ResignRow[];
  /** Releases that were not looked at, since a signer went away; the same command goes on with them. */
  readonly left: number;
  /** Why the batch stopped; undefined: it came to its end. */
  readonly stopped: Refusal | undefined;
}

/**
 * Signs the records of every release of a store anew; what cannot be is put in quarantine, and nothing is deleted.
 * No payload is read. A batch that was cut short is taken up again by the same request.
 *
 * @throws Refusal where nothing was begun: a signer that does not answer, a batch with other wishes that is not
 *   ended. An IoError.
 */
export async function resignStore(request: ResignStoreRequest): Promise<ResignedStore> {
  const { state: folder, dryRun = false } = request;
  await demandState(folder);
  if (dryRun) return run(request, true);
  const state = await openExistingState(folder);
  try {
    return await run(request, false);
  } finally {
    await state.release();
  }
}

async function run(request: ResignStoreRequest, dryRun: boolean): Promise<ResignedStore> {
  const { state, now } = request;
  const policy = await policyFor(state, request.policy);
  const { trusted, resignKeys, issued } = await prepareResign(request, policy);
  const job = await jobOf(request, issued);
  const releases = await releasesOf(state, job);
  const signing = new Signing(resignKeys.keys, resignKeys.others);
  const snapshotKey = await snapshotKeyOf(request);
  const batch: Batch = {
    state,
    keysFolder: request.keys,
    now,
    trusted,
    resignKeys,
    signing: dryRun ? undefined : signing,
    snapshotKey,
    snapshotFolder: request.snapshotKey,
    named: job.only !== undefined,
    change: { ...job, issued: Date.parse(job.issued), rsaBits: request.rsaBits },
  };
  if (!dryRun && releases.length > 0) {
    // A token that was pulled out must not empty the store.
    await signing.tryOut();
    await writeResignJob(state, job);
  }
  const rows: ResignRow[] = [];
  let stopped: Refusal | undefined;
  for (const release of releases) {
    request.onProgress?.(rows.length, releases.length, release);
    const one = await resignOne(batch, release);
    rows.push(one.row);
    stopped = one.stopped;
    if (stopped) break;
  }
  request.onProgress?.(rows.length, releases.length, '');
  if (!dryRun && !stopped) await endResignJob(state);
  return { rows, left: releases.length - rows.length, stopped };
}

/** The batch that is unfinished, where there is one: its dates are what was signed already. */
async function jobOf(request: ResignStoreRequest, issued: number | undefined): Promise<ResignJob> {
  const { state, now, release, cmdline, moduleCmdline, url, only } = request;
  if (release !== undefined && !isReleaseId(release))
    throw new UsageError(`${JSON.stringify(release)} is no release id; write NAME/VERSION.`);
  if (release !== undefined && only?.length !== 1) {
    throw new UsageError('A new name is for one release: say which with --only NAME/VERSION.');
  }
  const wanted: Omit<ResignJob, 'issued'> = {
    ...(cmdline === undefined ? {} : { cmdline }),
    ...(moduleCmdline === undefined ? {} : { moduleCmdline }),
    ...(release === undefined ? {} : { release }),
    ...(url === undefined ? {} : { url }),
    ...(only === undefined ? {} : { only: [...only] }),
  };
  const before = await readResignJob(state);
  if (!before) return { issued: isoSeconds(issued ?? wholeSeconds(now)), ...wanted };
  const { issued: begun, ...rest } = before;
  const same =
    JSON.stringify(rest) === JSON.stringify(wanted) && (issued === undefined || begun === isoSeconds(issued));
  if (same) return before;
  throw new Refusal(
    'mixed-releases',
    `A batch that began with --issued ${begun} has not ended in ${state}: run that command again first${describe(rest)}.`,
    { issued: begun },
  );
}

function describe({ cmdline, moduleCmdline, release, url, only }: Omit<ResignJob, 'issued'>): string {
  const words = [
    ...(cmdline === undefined ? [] : [`--cmdline '${cmdline}'`]),
    ...(moduleCmdline === undefined ? [] : [`--module-cmdline '${moduleCmdline}'`]),
    ...(release === undefined ? [] : [`--release ${release}`]),
    ...(url === undefined ? [] : [`--url ${url}`]),
    ...(only ?? []).map((id) => `--only ${id}`),
  ];
  return words.length > 0 ? `, with ${words.join(' ')}` : '';
}

async function releasesOf(state: string, { only, release }: ResignJob): Promise<string[]> {
  const stored = new Set(await storedReleases(state));
  const all = new Set([...stored, ...(await quarantinedReleases(state))]);
  if (!only) return [...all].sort();
  const [one = ''] = only;
  if (release !== undefined && stored.has(one) && stored.has(release)) {
    throw new Refusal('mixed-releases', `There is a release ${release} in ${state} already.`, { release });
  }
  // It was renamed before the batch was cut short.
  if (release !== undefined && !all.has(one) && stored.has(release)) return [release];
  for (const id of only) {
    if (all.has(id)) continue;
    throw new UsageError(`There is no release ${id} in ${state}.`);
  }
  return [...new Set(only)].sort();
}

/** Before anything is begun: a channel that names a release must be able to follow it. */
async function snapshotKeyOf({
  state,
  snapshotKey,
  now,
}: ResignStoreRequest): Promise<SnapshotKey | undefined> {
  const names = await channelNames(state);
  if (names.length === 0) return undefined;
  if (snapshotKey === undefined && !(await holdsSnapshotKey(state))) {
    demandHoldsKeys(state);
    throw new UsageError(
      `${state} has no snapshot key of its own: name the folder of the one that signs its channels with --snapshot-key.`,
    );
  }
  const key = await readSnapshotKey(snapshotKey ?? state);
  for (const name of names) {
    const stored = await readChannel(state, name);
    if (stored) await demandMovable(stored, key, now);
  }
  return key;
}
