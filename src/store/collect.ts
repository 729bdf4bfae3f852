import { readdir, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { cannotRead, codeOf, isAbsent } from '../errors/io.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { lstatIfThere } from '../files/read-if-there.ts';
import { COLLECT_AFTER } from './collect-after.ts';
import { collectInBucket } from './collect-bucket.ts';
import {
  type Collected,
  MARKS,
  MARKS_KEY,
  marksOf,
  OBJECT_SHA256,
  type UnusedObject,
} from './collect-marks.ts';
import { cleanFolder, recordsOf } from './folder-backend.ts';
import { objectPath } from './release-store.ts';
import { bucketOf } from './s3/buckets.ts';
import { demandState, openExistingState } from './state.ts';
import { encodeStateJson, readStateJson } from './state-json.ts';

/**
 * Frees the objects that nothing refers to any more. A release, wherever it lies (in service, in quarantine, among what
 * is kept of earlier records), refers to its objects by links, so an object with one link is nobody's; in a bucket it does
 * so by lists (collect-bucket.ts). It is marked first
 * (`STATE/collect.json`), and deleted by a later run, seven days after, if it still is nobody's and no process has it open.
 *
 * Releases themselves are never deleted here: which of them may go is the operator's to say.
 */

export interface CollectOptions {
  readonly state: string;
  /** Says what would happen, and changes nothing. */
  readonly dryRun?: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** @throws UsageError for a folder or a bucket that holds no state; IoError, `Refusal` (`malformed`) for marks that are not ours. */
export async function collectObjects({
  state: folder,
  dryRun = false,
  now,
}: CollectOptions): Promise<Collected> {
  const bucket = bucketOf(folder);
  if (bucket) return collectInBucket(folder, bucket, now, dryRun);
  if (dryRun) {
    await demandState(folder);
    return sort(folder, now);
  }
  const state = await openExistingState(folder);
  try {
    await cleanDrafts(folder);
    const found = await sort(folder, now);
    for (const { sha256 } of found.deleted) await remove(objectPath(folder, sha256));
    await recordsOf(folder).put(MARKS_KEY, encodeStateJson(marksOf(found)));
    return found;
  } finally {
    await state.release();
  }
}

async function sort(state: string, now: number): Promise<Collected> {
  const marks = (await readStateJson(recordsOf(state), MARKS_KEY, MARKS))?.value.marked ?? {};
  const marked: UnusedObject[] = [];
  const waiting: UnusedObject[] = [];
  const due: (UnusedObject & { readonly id: string })[] = [];
  for (const sha256 of await objects(state)) {
    const facts = await lstatIfThere(objectPath(state, sha256));
    if (!facts?.isFile() || facts.nlink > 1) continue;
    const since = Date.parse(marks[sha256] ?? '');
    const object = { sha256, size: facts.size, since: Number.isNaN(since) ? now : since };
    // One that was written again after its mark is a new one.
    if (Number.isNaN(since) || facts.mtimeMs > since + 1000) marked.push({ ...object, since: now });
    else if (now - since < COLLECT_AFTER) waiting.push(object);
    else due.push({ ...object, id: `${facts.dev}:${facts.ino}` });
  }
  const opened = due.length > 0 ? await openFiles() : new Set<string>();
  const plain = ({ sha256, size, since }: UnusedObject) => ({ sha256, size, since });
  return {
    marked,
    waiting,
    open: due.filter(({ id }) => opened.has(id)).map(plain),
    deleted: due.filter(({ id }) => !opened.has(id)).map(plain),
  };
}

/** Digests of all objects. */
async function objects(state: string): Promise<string[]> {
  const records = recordsOf(state);
  const found: string[] = [];
  for (const name of await records.list('objects/sha256')) {
    if (!/^[0-9a-f]{2}\/$/.test(name)) continue;
    const start = name.slice(0, 2);
    for (const rest of await records.list(`objects/sha256/${start}`)) {
      if (OBJECT_SHA256.test(start + rest)) found.push(start + rest);
    }
  }
  return found;
}

/** What killed publishers left half-made holds links to objects. The state is ours, so nobody is at work on it. */
async function cleanDrafts(state: string): Promise<void> {
  for (const folder of ['releases', 'objects/sha256']) {
    for (const name of await recordsOf(state).list(folder)) {
      if (name.endsWith('/')) await cleanFolder(state, folder, name);
    }
  }
}

async function remove(path: string): Promise<void> {
  try {
    await rm(path, { force: true });
    await syncDirectory(dirname(path));
  } catch (error) {
    throw explain(error, path);
  }
}

/**
 * `dev:ino` of every file that a process has open, as far as this one may see: all of its own user's, or, as root, all.
 * What another user's process has open keeps its content until it is closed, as Linux has it, but no other can open it.
 */
async function openFiles(): Promise<Set<string>> {
  const found = new Set<string>();
  for (const pid of await visible('/proc')) {
    if (!/^[0-9]+$/.test(pid)) continue;
    for (const fd of await visible(`/proc/${pid}/fd`)) {
      const facts = await seen(`/proc/${pid}/fd/${fd}`, stat);
      if (facts?.isFile()) found.add(`${facts.dev}:${facts.ino}`);
    }
  }
  return found;
}

async function visible(folder: string): Promise<readonly string[]> {
  return (await seen(folder, (path) => readdir(path))) ?? [];
}

/** Undefined for what has ended meanwhile and for what is another user's. */
async function seen<T>(path: string, look: (path: string) => Promise<T>): Promise<T | undefined> {
  try {
    return await look(path);
  } catch (error) {
    const code = codeOf(error) ?? '';
    if (isAbsent(error) || ['EACCES', 'EPERM', 'ESRCH'].includes(code)) return undefined;
    throw cannotRead(path, error);
  }
}
