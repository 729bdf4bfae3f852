import { syncDirectory } from './atomic-file.ts';

/** By directory: the sync that was asked for last, and the one that has not begun. */
const last = new Map<string, Promise<void>>();
const next = new Map<string, Promise<void>>();

/**
 * Makes a directory's entries durable, as `syncDirectory` does, at one time for all who ask while the disk is busy with the
 * sync before: one covers whatever was renamed or linked before it began. Where it fails, it has failed for each of them.
 *
 * @throws IoError
 */
export function syncTogether(directory: string, sync = syncDirectory): Promise<void> {
  const waiting = next.get(directory);
  if (waiting !== undefined) return waiting;
  const before = last.get(directory);
  const mine = before !== undefined ? behind(before, directory, sync) : sync(directory);
  if (before !== undefined) next.set(directory, mine);
  last.set(directory, mine);
  const over = (): void => {
    if (last.get(directory) === mine) last.delete(directory);
  };
  mine.then(over, over);
  return mine;
}

async function behind(before: Promise<void>, directory: string, sync: typeof syncDirectory): Promise<void> {
  // Whether that one failed was said to those who asked for it.
  await before.catch(() => {});
  next.delete(directory);
  await sync(directory);
}
