import { mkdir, readdir, rename, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../errors/refusal.ts';
import { explain, syncDirectory, writeFileAtomically } from '../files/atomic-file.ts';
import { isoSeconds } from '../formats/records/lines.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { provenancePath } from './provenance.ts';
import { encodeStateJson, isStateTime, readStateJson } from './state-json.ts';

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

const reasonPath = (state: string, release: string) => join(state, 'quarantine', release, 'reason.json');
const movedPath = (state: string, release: string) => join(state, 'quarantine', release, 'release');

/** Why a release is in quarantine; undefined where it is not. Throws a `Refusal` (`malformed`). */
export async function readQuarantined(state: string, release: string): Promise<Quarantined | undefined> {
  const found = await readStateJson(reasonPath(state, release), REASON);
  if (!found) return undefined;
  const { 'bootseal-quarantine': _, time: __, ...reason } = found;
  return { ...reason, held: !(await exists(movedPath(state, release))) };
}

/** Releases in quarantine, the held ones among them. */
export async function quarantinedReleases(state: string): Promise<string[]> {
  const ids = await releaseIds(join(state, 'quarantine'));
  const marked: string[] = [];
  for (const id of ids) if (await exists(reasonPath(state, id))) marked.push(id);
  return marked;
}

/** `NAME/VERSION` of every release in the store, sorted. */
export function storedReleases(state: string): Promise<string[]> {
  return releaseIds(join(state, 'releases'));
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
  try {
    // Another release of this name was put here before: it stays, one step aside.
    if (!hold && (await exists(target)) && (await exists(from))) await stepAside(state, release);
    await mkdir(dirname(target), { recursive: true });
    const bytes = encodeStateJson({
      'bootseal-quarantine': 1,
      release,
      manifest,
      origin,
      time: isoSeconds(Math.floor(time / 1000) * 1000),
      code,
      message,
      command,
    });
    await writeFileAtomically(reasonPath(state, release), bytes);
    if (hold || !(await exists(from))) return;
    await rename(from, target);
    await syncDirectory(dirname(target));
    await syncDirectory(dirname(from));
  } catch (error) {
    throw explain(error, target);
  }
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
  try {
    if (await exists(from)) {
      if (await exists(to)) {
        throw new Refusal(
          'mixed-releases',
          `Another ${release} was published while this one was in quarantine; it stays there.`,
          { release },
        );
      }
      await mkdir(dirname(to), { recursive: true });
      await rename(from, to);
      await syncDirectory(dirname(to));
      await syncDirectory(dirname(from));
    }
    await keepReason(state, release, time);
  } catch (error) {
    throw explain(error, to);
  }
}

/** The mark is taken off; what it said stays on record. */
async function keepReason(state: string, release: string, time: number): Promise<void> {
  const kept = provenancePath(state, release, 'quarantined');
  await mkdir(kept, { recursive: true });
  const stamp = isoSeconds(Math.floor(time / 1000) * 1000).replaceAll(':', '');
  let name = `${stamp}.json`;
  for (let count = 2; await exists(join(kept, name)); count += 1) name = `${stamp}-${count}.json`;
  await rename(reasonPath(state, release), join(kept, name));
  await syncDirectory(kept);
  // Empty folders alone: rmdir removes nothing else.
  for (let at = dirname(reasonPath(state, release)); at !== join(state, 'quarantine'); at = dirname(at)) {
    const empty = await rmdir(at).then(
      () => true,
      () => false,
    );
    if (!empty) break;
  }
}

async function stepAside(state: string, release: string): Promise<void> {
  const folder = dirname(movedPath(state, release));
  for (let count = 1; ; count += 1) {
    const aside = join(folder, `before-${count}`);
    if (await exists(aside)) continue;
    await mkdir(aside);
    await rename(reasonPath(state, release), join(aside, 'reason.json'));
    await rename(movedPath(state, release), join(aside, 'release'));
    await syncDirectory(aside);
    return;
  }
}

async function releaseIds(folder: string): Promise<string[]> {
  const ids: string[] = [];
  for (const name of await readdir(folder).catch(() => [])) {
    for (const version of await readdir(join(folder, name)).catch(() => [])) {
      const id = `${name}/${version}`;
      if (isReleaseId(id)) ids.push(id);
    }
  }
  return ids.sort();
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
