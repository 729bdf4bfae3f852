import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { namesRelease } from '../formats/records/snapshot.ts';
import { channelNames, readChannel } from './channels.ts';
import type { Act } from './log.ts';
import { quarantinedReleases, storedReleases } from './quarantine.ts';
import { readStoredManifest } from './stored-manifest.ts';
import { MAX_REASON, type Withdrawal, withdrawnReason, writeWithdrawal } from './withdrawals.ts';

/** What is to be taken out of use. */
export interface WithdrawFacts {
  /** `NAME/VERSION`, published before. */
  readonly release: string;
  /** For people who find it refused: one line. */
  readonly reason: string;
  /** Machines that run it lose their root, too. */
  readonly cutRunning: boolean;
}

export interface WithdrawnRelease {
  readonly withdrawal: Withdrawal;
  /** False: it was withdrawn already, and nothing has changed. */
  readonly changed: boolean;
  /** Channels that still name it: they offer nothing until they are moved. */
  readonly channels: readonly string[];
}

/**
 * Takes a release of a state, which is the caller's (`openState`), out of use for good. On record before it takes effect.
 *
 * @param now milliseconds since 1970.
 * @param origin who withdraws it, for the log.
 * @param record writes the act into the log; needs no key.
 * @throws UsageError for a release that was never published here; IoError; a `Refusal` of the log.
 */
export async function withdrawStored(
  state: string,
  { release, reason: text, cutRunning }: WithdrawFacts,
  now: number,
  origin: string | undefined,
  record: (act: Act) => Promise<unknown>,
): Promise<WithdrawnRelease> {
  const reason = demandReason(text);
  if (!isReleaseId(release))
    throw new UsageError(`${JSON.stringify(release)} is no release; write NAME/VERSION.`);
  const before = await withdrawnReason(state, release);
  if (!before) await demandKnown(state, release);
  const channels = await channelsAt(state, release);
  if (before && (before.now || !cutRunning)) return { withdrawal: before, changed: false, channels };
  const withdrawal: Withdrawal = before
    ? { ...before, now: true }
    : { release, manifest: await manifestOf(state, release), time: now, reason, now: cutRunning };
  const manifest = withdrawal.manifest || undefined;
  const refusal = new Refusal('withdrawn', cutRunning ? `${reason} (now)` : reason);
  await record({ time: now, act: 'withdraw', release, manifest, origin, refusal });
  await writeWithdrawal(state, withdrawal);
  return { withdrawal, changed: true, channels };
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
  try {
    const bytes = await readStoredManifest(state, release);
    return bytes ? createHash('sha256').update(bytes).digest('hex') : '';
  } catch (error) {
    // What nobody can read any more is withdrawn all the same.
    if (error instanceof Refusal) return '';
    throw error;
  }
}
