import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import type { ExpectedRelease } from '../../store/expected-contents.ts';
import { recordsOf } from '../../store/folder-backend.ts';
import { objectKey } from '../../store/objects.ts';
import { encodeStateJson, isStateTime, readStateJson, stateTime } from '../../store/state-json.ts';
import type { DriftJudge } from './drift-judge.ts';
import { identityAt, isSame, type Suspicion } from './store-look.ts';

const KEY = 'scrub.json';
const PROGRESS = z.strictObject({
  'bootseal-scrub': z.literal(1),
  begun: z.string().refine(isStateTime),
  /** The last file that was read; empty: none of this round yet. */
  at: z.string(),
  files: z.int().min(0),
  /** Bytes. */
  bytes: z.int().min(0),
});

/** How far a round has come. A store that takes days to read is read to its end, however often the reader is restarted. */
export interface ScrubRound {
  /** Milliseconds since 1970. */
  readonly begun: number;
  readonly files: number;
  /** Bytes. */
  readonly bytes: number;
}

export interface ScrubOptions {
  readonly state: string;
  readonly judge: DriftJudge;
  readonly contents: () => Promise<ReadonlyMap<string, ExpectedRelease>>;
  /** Bytes a second; undefined: as fast as it goes. */
  readonly rate: number | undefined;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly signal: AbortSignal;
  /** Keeps how far it came in the state; false: begins at the beginning. */
  readonly resume: boolean;
}

/** Milliseconds between two notes of how far a round is. */
const NOTE_MS = 5000;

/**
 * Reads everything in the store once: every object, and what of the releases' folders is no link to one. It is judged by its
 * content alone, whatever its times say.
 *
 * @returns undefined where the signal ended it before.
 * @throws IoError where the state cannot be written.
 */
export async function scrubOnce(options: ScrubOptions): Promise<ScrubRound | undefined> {
  const { state, judge, contents, rate, clock, signal, resume } = options;
  const before = resume ? (await readStateJson(recordsOf(state), KEY, PROGRESS))?.value : undefined;
  const begun = before ? Date.parse(before.begun) : clock();
  let { files, bytes } = { files: before?.files ?? 0, bytes: before?.bytes ?? 0 };
  const note = async (at: string): Promise<void> => {
    if (!resume) return;
    const value = { 'bootseal-scrub': 1 as const, begun: stateTime(begun), at, files, bytes };
    await recordsOf(state).put(KEY, encodeStateJson(PROGRESS.parse(value)));
  };
  let noted = Number.NEGATIVE_INFINITY;
  let last = before?.at ?? '';
  for await (const one of everything(state, await contents())) {
    if (signal.aborted) break;
    if (before && one.path <= before.at) continue;
    const size = Number((await identityAt(join(state, one.path)))?.identity.size ?? 0n);
    const began = performance.now();
    const pace = async (octets: number): Promise<void> => {
      const early = rate === undefined ? 0 : (octets / rate) * 1000 - (performance.now() - began);
      if (early > 0) await sleep(early, undefined, { signal }).catch(() => {});
    };
    try {
      await judge.judge([one], { pace, signal });
    } catch (error) {
      if (signal.aborted) break;
      throw error;
    }
    if (signal.aborted) break;
    // Small files are read in one go.
    await pace(size);
    files += 1;
    bytes += size;
    last = one.path;
    if (performance.now() - noted < NOTE_MS) continue;
    noted = performance.now();
    await note(one.path);
  }
  if (signal.aborted) {
    await note(last);
    return undefined;
  }
  if (resume) await recordsOf(state).remove(KEY);
  return { begun, files, bytes };
}

/** In the order of their paths, so that where one stands says what was before it. */
async function* everything(
  state: string,
  expected: ReadonlyMap<string, ExpectedRelease>,
): AsyncGenerator<Suspicion> {
  const records = recordsOf(state);
  for (const prefix of await records.list('objects/sha256')) {
    const [, start] = /^([0-9a-f]{2})\/$/.exec(prefix) ?? [];
    if (start === undefined) continue;
    for (const rest of await records.list(`objects/sha256/${start}`)) {
      if (!/^[0-9a-f]{62}$/.test(rest)) continue;
      const path = `objects/sha256/${start}/${rest}`;
      yield { path, kind: 'content', release: undefined, expected: start + rest };
    }
  }
  const all = [...expected].flatMap(([release, { files }]) =>
    [...files].map(([within, { sha256 }]) => ({ path: `releases/${release}/${within}`, release, sha256 })),
  );
  for (const { path, release, sha256 } of all.sort((a, b) => (a.path < b.path ? -1 : 1))) {
    const own = await identityAt(join(state, path));
    const object = await identityAt(join(state, objectKey(sha256)));
    // Read as an object already.
    if (!own || (object && isSame(own.identity, object.identity))) continue;
    yield { path, kind: 'content', release, expected: sha256 };
  }
}
