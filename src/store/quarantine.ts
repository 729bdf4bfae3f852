import { rename, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { codeOf, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { isThere } from '../files/read-if-there.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { recordsOf } from './folder-backend.ts';
import { provenanceKey } from './provenance.ts';
import { encodeStateJson, isStateTime, readStateJson, stateTime } from './state-json.ts';

/**
 * What cannot be verified or signed anew, and is not deleted for it: `quarantine/NAME/VERSION/reason.json`, and
 * beside it `release/`, the release's folder as it was. Where that is missing the release is *held*: it still is
 * in its place and in service, and this is a mark on it.
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

const reasonKey = (release: string) => `quarantine/${release}/reason.json`;
const movedPath = (state: string, release: string) => join(state, 'quarantine', release, 'release');

/**
 * Why a release is in quarantine; undefined where it is not.
 *
 * @throws Refusal `malformed`; `drifted` where it was put there and the reason is gone. IoError.
 */
export async function readQuarantined(state: string, release: string): Promise<Quarantined | undefined> {
  const found = await readStateJson(recordsOf(state), reasonKey(release), REASON);
  const moved = await isThere(movedPath(state, release));
  if (!found && !moved) return undefined;
  if (!found) {
    throw new Refusal(
      'drifted',
      `${movedPath(state, release)} was put in quarantine, and its reason.json is gone: nobody can tell why.`,
      { release },
    );
  }
  const { 'bootseal-quarantine': _, time: __, ...reason } = found.value;
  return { ...reason, held: !moved };
}

/** Releases in quarantine, the held ones among them. */
export async function quarantinedReleases(state: string): Promise<string[]> {
  const marked: string[] = [];
  for (const id of await releaseIds(state, 'quarantine')) {
    const names = await recordsOf(state).list(`quarantine/${id}`);
    if (names.includes('reason.json') || names.includes('release/')) marked.push(id);
  }
  return marked;
}

/** `NAME/VERSION` of every release in the store, sorted. */
export function storedReleases(state: string): Promise<string[]> {
  return releaseIds(state, 'releases');
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
  const target = movedPath(state, release);
  const from = join(state, 'releases', release);
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
  if (!hold && (await isThere(target)) && (await isThere(from))) await stepAside(state, release);
  await recordsOf(state).put(reasonKey(release), bytes);
  if (hold || !(await isThere(from))) return;
  await moveFolder(from, target);
}

/**
 * Takes a release back into service. The reason is kept with its provenance.
 *
 * @param time milliseconds since 1970.
 * @throws Refusal `mixed-releases` where another release of that name was published meanwhile.
 */
export async function takeBack(state: string, release: string, time: number): Promise<void> {
  const from = movedPath(state, release);
  const to = join(state, 'releases', release);
  if (await isThere(from)) {
    if (await isThere(to)) {
      throw new Refusal(
        'mixed-releases',
        `Another ${release} was published while this one was in quarantine; it stays there.`,
        { release },
      );
    }
    await moveFolder(from, to);
  }
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
  await removeIfEmpty(join(state, 'quarantine', release));
  await removeIfEmpty(dirname(join(state, 'quarantine', release)));
}

/** In one step, reason and release together: neither is ever without the other. */
async function stepAside(state: string, release: string): Promise<void> {
  const from = dirname(movedPath(state, release));
  for (let count = 1; ; count += 1) {
    const aside = join(state, provenanceKey(release, 'quarantined', `before-${count}`));
    if (await isThere(aside)) continue;
    return moveFolder(from, aside);
  }
}

async function moveFolder(from: string, to: string): Promise<void> {
  await makeFolders(dirname(to));
  try {
    await rename(from, to);
    await syncDirectory(dirname(to));
    await syncDirectory(dirname(from));
  } catch (error) {
    throw explain(error, to);
  }
}

/** An empty folder alone: rmdir removes nothing else. */
async function removeIfEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    if (!isAbsent(error) && codeOf(error) !== 'ENOTEMPTY') throw explain(error, folder);
  }
}

async function releaseIds(state: string, folder: string): Promise<string[]> {
  const records = recordsOf(state);
  const below = async (prefix: string) => (await records.list(prefix)).filter((name) => name.endsWith('/'));
  const ids: string[] = [];
  for (const name of await below(folder)) {
    for (const version of await below(`${folder}/${name.slice(0, -1)}`)) {
      const id = `${name}${version.slice(0, -1)}`;
      if (isReleaseId(id)) ids.push(id);
    }
  }
  return ids.sort();
}
