import { Refusal } from '../errors/refusal.ts';
import type { Arming, Consumption } from '../formats/records/armed-boot.ts';
import { logAct } from '../publish/log-act.ts';
import type { SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { consumptionAct } from '../store/armed-acts.ts';
import { ArmedBoots, type StoredArming } from '../store/armed-boots.ts';
import { recordsOf } from '../store/folder-backend.ts';
import { openStateWhenFree } from '../store/state.ts';
import type { KeyholderRequest } from './protocol.ts';

/** What a server tells of a boot that was armed, where the state is not its own to write. */
export type ConsumeRequest = Extract<KeyholderRequest, { ask: 'consume' }>;

/** An arming that is over. */
export interface Over {
  readonly arming: Arming;
  readonly consumption: Consumption;
}

/**
 * Writes down how far an armed boot is. It needs neither lock nor turn: each record is written where there is none, or not
 * at all, so that a machine waits for no publisher.
 *
 * @returns whether it was not so already, and what is over now, for the log.
 * @throws Refusal for what the records contradict: another arming, files that have not left, a time that has not come.
 */
export async function consumeArmed(
  state: string,
  { mac, id, how, path, address, nonce }: ConsumeRequest,
  now: number,
): Promise<{ readonly changed: boolean; readonly over?: Over }> {
  const records = new ArmedBoots(recordsOf(state));
  const kept = await records.newest(mac);
  if (!kept) throw new Refusal('absent', `The machine ${mac} is not armed.`, { mac });
  const { arming, consumed } = kept;
  if (arming.id !== id)
    throw new Refusal('stale', `The machine ${mac} was armed anew since ${id}.`, { mac, id });
  if (consumed) return { changed: false };
  if (how === 'left') {
    if (path === undefined || !arming.leaves?.includes(path))
      throw contradicted(arming, 'that is no file by which it is counted');
    await records.leave(kept, path);
    return { changed: true };
  }
  const why = await contradiction(records, kept, how, now);
  if (why !== undefined) throw contradicted(arming, why);
  const time = Math.floor(now / 1000) * 1000;
  const consumption = { id, how, time, address, nonce };
  if (!(await records.consume(kept, consumption))) return { changed: false };
  return { changed: true, over: { arming, consumption } };
}

/** Why it cannot be as the server says; undefined where it can. */
async function contradiction(
  records: ArmedBoots,
  kept: StoredArming,
  how: 'files' | 'report' | 'ended',
  now: number,
): Promise<string | undefined> {
  const { leaves, ends } = kept.arming;
  if (how === 'ended') return now < ends ? 'its time is not over' : undefined;
  if (how === 'report') return leaves === undefined ? undefined : 'it is not consumed by a report';
  if (leaves === undefined) return 'it is consumed by a report';
  const left = await records.left(kept);
  return leaves.every((one) => left.has(one)) ? undefined : 'not all of its files have left';
}

function contradicted({ mac, id }: Arming, why: string): Refusal {
  return new Refusal('wrong-purpose', `The arming ${id} of ${mac} does not end so: ${why}.`, { mac, id });
}

/** What is over, in the log of the state, signed. */
export async function logConsumed(
  folder: string,
  { arming, consumption }: Over,
  key: SnapshotKey,
  now: number,
): Promise<void> {
  const state = await openStateWhenFree(folder);
  try {
    await logAct(folder, consumptionAct(arming, consumption, now), key);
  } finally {
    await state.release();
  }
}
