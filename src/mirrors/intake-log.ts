import { Refusal } from '../errors/refusal.ts';
import { type ChannelRelease, namesRelease } from '../formats/records/snapshot.ts';
import { logActs } from '../publish/log-act.ts';
import { readChannel } from '../store/channels.ts';
import type { Act } from '../store/log.ts';
import { openState } from '../store/state.ts';
import { fingerprint } from '../trust/chain.ts';
import type { IntakeTerms, JudgedTree } from './intake-terms.ts';
import type { JudgedSnapshot } from './upstream.ts';

/* What the log says of an intake: what came in, what was named, what was refused. */

/** One entry for each release that the channel names anew; where they are the same ones, for each of these. */
export async function movedActs(
  { state, origin, now, snapshotSigners }: IntakeTerms,
  { channel, snapshot }: JudgedSnapshot,
  judged: ReadonlyMap<string, JudgedTree>,
): Promise<Act[]> {
  const before = (await readChannel(state, channel))?.snapshot;
  const { counter, releases } = snapshot;
  const signers = snapshotSigners.map(fingerprint);
  const entry = ({ release, manifest, serial, rollbackFrom }: ChannelRelease): Act => {
    const seals = judged.get(release)?.release?.records;
    const facts = { channel, release, manifest, serial, counter, rollbackFrom, origin };
    return { time: now, act: 'pull', ...facts, seals, signers };
  };
  const fresh = releases.filter(
    ({ release, manifest }) =>
      !before || !namesRelease(before, release) || !before.releases.some((one) => one.manifest === manifest),
  );
  return (fresh.length === 0 ? releases : fresh).map(entry);
}

export function broughtAct({ now, origin }: IntakeTerms) {
  return ([, { release: verified }]: readonly [string, JudgedTree]): Act[] => {
    if (!verified) return [];
    const { release, manifest, manifestSha256, records } = verified;
    const { serial } = manifest;
    return [{ time: now, act: 'pull', release, manifest: manifestSha256, serial, origin, seals: records }];
  };
}

/** What is refused on the way is logged too, as far as the log can be written. */
export async function onRecord<T>(
  terms: IntakeTerms,
  channel: string | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal) await recordRefusal(terms, channel, error);
    throw error;
  }
}

/** Puts a refusal on record that ended an intake before it had a state to write to. */
export async function recordRefusal(
  terms: IntakeTerms,
  channel: string | undefined,
  refusal: Refusal,
): Promise<void> {
  try {
    const state = await openState(terms.state);
    try {
      await logRefused(terms, channel, refusal, []);
    } finally {
      await state.release();
    }
  } catch {
    // The log may be what was refused; what ended the intake is said all the same.
  }
}

export async function logRefused(
  { state, now, origin, snapshotKey }: IntakeTerms,
  channel: string | undefined,
  refusal: Refusal,
  judged: readonly (readonly [string, JudgedTree])[],
): Promise<void> {
  const about = judged.find(([, one]) => one.refusal === refusal)?.[0];
  const act: Act = { time: now, act: 'refuse', channel, release: about, origin, refusal };
  await logActs(state, [act], snapshotKey);
}
