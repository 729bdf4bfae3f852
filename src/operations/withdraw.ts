import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { readIfThere } from '../files/read-if-there.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { namesRelease } from '../formats/records/snapshot.ts';
import { logAct } from '../publish/log-act.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { quarantinedReleases, storedReleases } from '../store/quarantine.ts';
import { openExistingState } from '../store/state.ts';
import { MAX_REASON, type Withdrawal, withdrawnReason, writeWithdrawal } from '../store/withdrawals.ts';

export interface WithdrawOptions {
  readonly state: string;
  /** `NAME/VERSION`, published before. */
  readonly release: string;
  /** For people who find it refused: one line. */
  readonly reason: string;
  /** Machines that run it lose their root, too. */
  readonly cutRunning: boolean;
  /** A folder of the shape that `init` makes; default: the state's own. It signs the log. */
  readonly snapshotKey?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

export interface WithdrawnRelease {
  readonly withdrawal: Withdrawal;
  /** False: it was withdrawn already, and nothing has changed. */
  readonly changed: boolean;
  /** Channels that still name it: they offer nothing until they are moved. */
  readonly channels: readonly string[];
}

/**
 * Takes a release out of use for good: it is never served, published, exported or rolled back to again. On record in the
 * log before it takes effect. What machines or copies elsewhere hold of it, nobody can take back.
 *
 * @throws UsageError for a release that was never published here; IoError; a `Refusal` of the log.
 */
export async function withdrawRelease(options: WithdrawOptions): Promise<WithdrawnRelease> {
  const { release, cutRunning, snapshotKey, now } = options;
  const reason = demandReason(options.reason);
  if (!isReleaseId(release))
    throw new UsageError(`${JSON.stringify(release)} is no release; write NAME/VERSION.`);
  const state = await openExistingState(options.state);
  try {
    const before = await withdrawnReason(state.folder, release);
    if (!before) await demandKnown(state.folder, release);
    const channels = await channelsAt(state.folder, release);
    if (before && (before.now || !cutRunning)) return { withdrawal: before, changed: false, channels };
    const withdrawal: Withdrawal = before
      ? { ...before, now: true }
      : { release, manifest: await manifestOf(state.folder, release), time: now, reason, now: cutRunning };
    const manifest = withdrawal.manifest || undefined;
    const refusal = new Refusal('withdrawn', cutRunning ? `${reason} (now)` : reason);
    await logAct(state.folder, { time: now, act: 'withdraw', release, manifest, refusal }, snapshotKey);
    await writeWithdrawal(state.folder, withdrawal);
    return { withdrawal, changed: true, channels };
  } finally {
    await state.release();
  }
}

/** The reason, as one line. Throws a `UsageError`. */
function demandReason(text: string): string {
  const reason = text.trim();
  // What a terminal obeys has no place in what is shown to everybody later.
  if (reason !== '' && reason.length <= MAX_REASON && !/\p{C}|\p{Zl}|\p{Zp}/u.test(reason)) return reason;
  throw new UsageError(`A reason is one line of 1 to ${MAX_REASON} printable characters.`);
}

async function demandKnown(state: string, release: string): Promise<void> {
  const known = new Set([...(await storedReleases(state)), ...(await quarantinedReleases(state))]);
  if (known.has(release)) return;
  throw new UsageError(
    `${state} does not hold ${release}: it was never published there, or its folder was removed.`,
  );
}

async function channelsAt(state: string, release: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await channelNames(state)) {
    const current = await readChannel(state, name);
    if (current && namesRelease(current.snapshot, release)) found.push(name);
  }
  return found;
}

async function manifestOf(state: string, release: string): Promise<string> {
  for (const folder of [join(state, 'releases', release), join(state, 'quarantine', release, 'release')]) {
    const bytes = await readIfThere(join(folder, RECORD.manifest));
    if (bytes) return createHash('sha256').update(bytes).digest('hex');
  }
  return '';
}
