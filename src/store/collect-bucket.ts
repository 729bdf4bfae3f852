import { UsageError } from '../errors/usage.ts';
import { decodeReleaseList } from '../formats/records/release-list.ts';
import { decodeOr } from '../trust/check.ts';
import { COLLECT_AFTER } from './collect-after.ts';
import {
  type Collected,
  MARKS,
  MARKS_KEY,
  marksOf,
  OBJECT_SHA256,
  type UnusedObject,
} from './collect-marks.ts';
import { objectKey } from './objects.ts';
import type { S3Backend } from './s3/backend.ts';
import { demandState, openExistingState } from './state.ts';
import { encodeStateJson, readStateJson } from './state-json.ts';

/**
 * Collecting in a bucket. What refers to objects are the lists of releases: in service, in quarantine, kept beside them,
 * and staged by a change that has not ended. One that cannot be read ends the run before anything was deleted.
 *
 * S3 deletes without conditions, so what keeps a publisher and a collector apart is time: nothing goes that was not marked
 * for seven days and is older than its mark, and a publisher writes anew what is older than six. Each object is looked at
 * once more right before it goes.
 */
export async function collectInBucket(
  state: string,
  bucket: S3Backend,
  now: number,
  dryRun: boolean,
): Promise<Collected> {
  if (dryRun) await demandState(state);
  else await (await openExistingState(state)).release();
  const before = await readStateJson(bucket, MARKS_KEY, MARKS);
  // Objects first: what is listed between the two is then referred to, and not taken for nobody's.
  const found = await objectsOf(bucket);
  for (const sha256 of await referredTo(bucket)) found.delete(sha256);
  const sorted = sortByMarks(found, before?.value.marked ?? {}, now);
  if (dryRun) return sorted;
  const deleted = await deleteOld(bucket, sorted.deleted);
  const collected = { ...sorted, deleted };
  const written = await bucket.compareAndSwap(
    MARKS_KEY,
    before?.version,
    encodeStateJson(marksOf(collected)),
  );
  if (!written) throw new UsageError(`Somebody else collects in ${state} at the same time; try again later.`);
  return collected;
}

interface Found {
  /** Bytes. */
  readonly size: number;
  /** Milliseconds since 1970, by the engine's clock. */
  readonly modified: number;
}

/** By digest. */
async function objectsOf(bucket: S3Backend): Promise<Map<string, Found>> {
  const found = new Map<string, Found>();
  await bucket.eachBelow('objects/sha256', (key, facts) => {
    const [, , start = '', rest = ''] = key.split('/');
    if (key === objectKey(start + rest) && OBJECT_SHA256.test(start + rest)) found.set(start + rest, facts);
  });
  return found;
}

/**
 * Keys below which lists are, and which of them are some; in the order in which they are read. Whoever moves a list writes
 * it in the new place before he takes it from the old, so a list that moves meanwhile is met in one of them.
 */
const LISTS: readonly (readonly [string, RegExp])[] = [
  ['lists', /^lists\/[^/]+\/[^/]+$/],
  ['quarantine', /^quarantine\/[^/]+\/[^/]+\/list$/],
  ['provenance', /^provenance\/[^/]+\/[^/]+\/quarantined\/[^/]+\/list$/],
  ['change', /^change\/[0-9a-f]{64}$/],
  ['lists', /^lists\/[^/]+\/[^/]+$/],
];

async function referredTo(bucket: S3Backend): Promise<Set<string>> {
  const found = new Set<string>();
  for (const [prefix, form] of LISTS) {
    const keys: string[] = [];
    await bucket.eachBelow(prefix, (key) => {
      if (form.test(key)) keys.push(key);
    });
    for (const key of keys) {
      const record = await bucket.get(key);
      // One that was taken away meanwhile: whoever did has written another first.
      if (!record) continue;
      const { files } = decodeOr(key, () => decodeReleaseList(record.bytes));
      for (const { sha256 } of files) found.add(sha256);
    }
  }
  return found;
}

function sortByMarks(
  found: ReadonlyMap<string, Found>,
  marks: Readonly<Record<string, string>>,
  now: number,
): Collected {
  const marked: UnusedObject[] = [];
  const waiting: UnusedObject[] = [];
  const deleted: UnusedObject[] = [];
  for (const [sha256, { size, modified }] of found) {
    const since = Date.parse(marks[sha256] ?? '');
    // One that was written again after its mark is a new one.
    if (Number.isNaN(since) || modified > since + 1000) marked.push({ sha256, size, since: now });
    else if (now - since < COLLECT_AFTER) waiting.push({ sha256, size, since });
    else deleted.push({ sha256, size, since });
  }
  return { marked, waiting, open: [], deleted };
}

/** How many requests go out at once. */
const AT_ONCE = 16;

async function deleteOld(bucket: S3Backend, due: readonly UnusedObject[]): Promise<UnusedObject[]> {
  const gone: UnusedObject[] = [];
  const queue = [...due].reverse();
  const work = async () => {
    for (let object = queue.pop(); object; object = queue.pop()) {
      const key = objectKey(object.sha256);
      const facts = await bucket.facts(key);
      // Somebody wants it again.
      if (facts && facts.modified > object.since + 1000) continue;
      if (facts) await bucket.remove(key);
      gone.push(object);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return gone.sort((a, b) => (a.sha256 < b.sha256 ? -1 : 1));
}
