import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { IoError } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';
import { takeLock } from '../files/lock.ts';
import { makeFolders } from '../files/make-folders.ts';
import { cleanFolder } from './folder-backend.ts';
import type { S3Backend } from './s3/backend.ts';
import { bucketOf } from './s3/buckets.ts';
import { shelfOf } from './shelf-of.ts';
import { demandFormat, readFormat } from './state-format.ts';
import { finishWeb } from './web-folder.ts';

/** A STATE (DESIGN §9), opened: a folder by its one writer at a time, a bucket by whoever may write to it. */
export interface State {
  /** A folder, or a place in a bucket. */
  readonly folder: string;
  /** Lets the next writer in. Of a bucket it does nothing. */
  release(): Promise<void>;
}

const FOLDERS = ['objects/sha256', 'releases', 'channels', 'quarantine', 'log'] as const;

/**
 * Opens a state for writing; makes it where it does not exist. A folder has one writer at a time: two publishers would
 * each judge a serial that the other is about to change. A change that a crash cut short is finished first. It is quick:
 * what takes long (judging a tree) is done before, since everybody else waits. A bucket has no lock, and is opened by many
 * at once; every change in it is one conditional write, and whoever comes second is told so by that.
 *
 * @throws IoError where another process is writing, or the folder cannot be written; UsageError where it does not lock,
 *   or the bucket's engine keeps no conditions; Refusal `malformed` for a folder that is no state of this format.
 */
export async function openState(folder: string): Promise<State> {
  const bucket = bucketOf(folder);
  if (bucket) return openBucket(folder, bucket);
  // Before the lock is made: a folder that was meant for something else gets no file of ours.
  await readFormat(folder);
  await makeFolders(folder);
  const guard = join(folder, 'private');
  await makeFolders(guard, 0o700);
  const lock = await takeLock(join(folder, 'lock'), guard);
  try {
    await demandFormat(folder);
    for (const name of FOLDERS) await makeFolders(join(folder, name));
    await cleanFolder(folder);
    await shelfOf(folder).finishChange();
    await finishWeb(folder);
  } catch (error) {
    await lock.release();
    throw error;
  }
  return { folder, release: () => lock.release() };
}

/** Nothing is held: each write is made on the condition that nobody else made it. */
async function openBucket(state: string, bucket: S3Backend): Promise<State> {
  // Before the engine is tried: what was meant for something else gets no key of ours.
  await readFormat(state);
  await bucket.demandConditions();
  await demandFormat(state);
  await shelfOf(state).finishChange();
  return { folder: state, release: async () => {} };
}

/** Opens a state that must be there already: what only changes a state does not make one. Throws as `openState`. */
export async function openExistingState(folder: string): Promise<State> {
  await demandState(folder);
  return openState(folder);
}

/** How often and how long a state is waited for that somebody else writes to. */
const TRIES = 100;
const PAUSE_MS = 100;

/**
 * The same for who can wait: a server appends to the log whenever a machine has done something, and keeps nobody away for
 * longer than that takes. Throws as `openState` once it has waited ten seconds.
 */
export async function openStateWhenFree(folder: string): Promise<State> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await openExistingState(folder);
    } catch (error) {
      if (!(error instanceof IoError && error.code === 'EWOULDBLOCK') || tries >= TRIES) throw error;
      await setTimeout(PAUSE_MS);
    }
  }
}

/** Throws a `UsageError` for a folder or a bucket that holds no state. */
export async function demandState(folder: string): Promise<void> {
  if ((await readFormat(folder)) !== undefined) return;
  throw new UsageError(`There is no state in ${folder}: "bootseal publish" makes one.`);
}
