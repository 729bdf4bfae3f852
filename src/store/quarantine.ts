import { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { reasonKey } from './bucket-store.ts';
import { recordsOf } from './folder-backend.ts';
import { provenanceKey } from './provenance.ts';
import { shelfOf } from './shelf-of.ts';
import { encodeStateJson, isStateTime, readStateJson, stateTime } from './state-json.ts';

/**
 * What cannot be verified or signed anew, and is not deleted for it: `quarantine/NAME/VERSION/reason.json`, and
 * beside it `release/`, the release's folder as it was, or in a bucket its `list`. Where that is missing the release is
 * *held*: it still is in its place and in service, and this is a mark on it.
 */

const REASON = z.strictObject({
  'bootseal-quarantine': z.literal(1),
  release: z.string().refine(isReleaseId),
  /** SHA-256 of its manifest as it stood; empty where nobody could tell. */
  manifest: z.string().regex(/^([0-9a-f]{64})?$/),
  origin: z.string(),
  /** When it was put here. */
  time: z.string().refine(isStateTime),
  /** Of the refusal. */
  code: z.string().regex(/^[a-z-]+$/),
  message: z.string(),
  /** What takes it back, for a shell. */
  command: z.string(),
});

export type QuarantineReason = Omit<z.infer<typeof REASON>, 'bootseal-quarantine' | 'time'>;

export interface Quarantined extends QuarantineReason {
  /** True: it is in service all the same. */
  readonly held: boolean;
}

/**
 * Why a release is in quarantine; undefined where it is not.
 *
 * @throws Refusal `malformed`; `drifted` where it was put there and the reason is gone. IoError.
 */
export async function readQuarantined(state: string, release: string): Promise<Quarantined | undefined> {
  const found = await readStateJson(recordsOf(state), reasonKey(release), REASON);
  const shelf = shelfOf(state);
  const moved = await shelf.isAside(release);
  if (!found && !moved) return undefined;
  if (!found) {
    throw new Refusal(
      'drifted',
      `${shelf.treeAside(release).name} was put in quarantine, and its reason.json is gone: nobody can tell why.`,
      { release },
    );
  }
  const { 'bootseal-quarantine': _, time: __, ...reason } = found.value;
  return { ...reason, held: !moved };
}

/** Releases in quarantine, the held ones among them. */
export async function quarantinedReleases(state: string): Promise<string[]> {
  const records = recordsOf(state);
  const below = async (prefix: string) => (await records.list(prefix)).filter((name) => name.endsWith('/'));
  const marked: string[] = [];
  for (const name of await below('quarantine')) {
    for (const version of await below(`quarantine/${name.slice(0, -1)}`)) {
      const id = `${name}${version.slice(0, -1)}`;
      if (!isReleaseId(id)) continue;
      const names = await records.list(`quarantine/${id}`);
      if (['reason.json', 'release/', 'list'].some((one) => names.includes(one))) marked.push(id);
    }
  }
  return marked.sort();
}

/** `NAME/VERSION` of every release in the store, sorted. */
export function storedReleases(state: string): Promise<string[]> {
  return shelfOf(state).ids();
}

/**
 * Puts a release on record as quarantined, and moves it out of service unless it is to be held. The reason is
 * written first: a crash leaves a release in its place with a mark on it.
 *
 * @param time milliseconds since 1970.
 */
export async function quarantineRelease(
  state: string,
  reason: QuarantineReason,
  time: number,
  hold: boolean,
): Promise<void> {
  const { release, manifest, origin, code, message, command } = reason;
  const shelf = shelfOf(state);
  const bytes = encodeStateJson({
    'bootseal-quarantine': 1,
    release,
    manifest,
    origin,
    time: stateTime(time),
    code,
    message,
    command,
  });
  // Another release of this name was put here before: it stays, one step aside.
  if (!hold) await shelf.makeRoom(release);
  await recordsOf(state).put(reasonKey(release), bytes);
  if (!hold) await shelf.moveAside(release);
}

/**
 * Takes a release back into service. The reason is kept with its provenance.
 *
 * @param time milliseconds since 1970.
 * @throws Refusal `mixed-releases` where another release of that name was published meanwhile.
 */
export async function takeBack(state: string, release: string, time: number): Promise<void> {
  await shelfOf(state).moveBack(release);
  await keepReason(state, release, time);
}

/** The mark is taken off; what it said stays on record. */
async function keepReason(state: string, release: string, time: number): Promise<void> {
  const records = recordsOf(state);
  const reason = await records.get(reasonKey(release));
  if (!reason) return;
  const stamp = stateTime(time).replaceAll(':', '');
  for (let count = 1; ; count += 1) {
    const name = count === 1 ? `${stamp}.json` : `${stamp}-${count}.json`;
    const key = provenanceKey(release, 'quarantined', name);
    if (await records.putIfAbsent(key, reason.bytes)) break;
    // After a crash it is kept already.
    const kept = await records.get(key);
    if (kept && Buffer.compare(kept.bytes, reason.bytes) === 0) break;
  }
  await records.compareAndSwap(reasonKey(release), reason.version, undefined);
  await shelfOf(state).tidy(release);
}
