import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { explain, removeTemporaries } from '../files/atomic-file.ts';
import { finishChange } from './journal.ts';

/** A STATE folder (DESIGN §9), opened by its one writer at a time. */
export interface State {
  readonly folder: string;
  /** Lets the next writer in. */
  release(): Promise<void>;
}

const FOLDERS = ['objects/sha256', 'releases', 'channels', 'quarantine', 'log'] as const;

/**
 * Opens a state folder for writing; makes it where it does not exist. One writer at a time: two publishers
 * would each judge a serial that the other is about to change. A change that a crash cut short is finished first.
 *
 * @throws Refusal `unreachable` where another process is writing; an IoError.
 */
export async function openState(folder: string): Promise<State> {
  try {
    for (const name of FOLDERS) await mkdir(join(folder, name), { recursive: true });
  } catch (error) {
    throw explain(error, folder);
  }
  const lock = join(folder, 'lock');
  for (let attempt = 0; ; attempt += 1) {
    try {
      const handle = await open(lock, 'wx', 0o644);
      await handle.writeFile(`${process.pid}\n`);
      await handle.close();
      break;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw explain(error, lock);
      const holder = Number.parseInt(await readFile(lock, 'utf8').catch(() => ''), 10);
      if (attempt > 0 || isAlive(holder)) {
        throw new Refusal(
          'unreachable',
          `Process ${holder} is writing to ${folder}; try again when it has ended.`,
          {
            path: folder,
            process: holder,
          },
        );
      }
      // Its holder was killed; what it left unfinished has temporary names.
      await rm(lock, { force: true });
    }
  }
  await removeTemporaries(folder);
  try {
    await finishChange(folder);
  } catch (error) {
    await rm(lock, { force: true });
    throw error;
  }
  return { folder, release: () => rm(lock, { force: true }) };
}

function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
