import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/*
 * Folders that are filled beside their place and then renamed into it. Their names say who fills them, so that what a
 * killed process left behind is told from what somebody is at work on.
 */

/** `.bootseal-NAME-PID.START.NAMESPACE-RANDOM.tmp` */
const DRAFT = /^\.bootseal-(.+)-(\d+)\.(\d+)\.(\d+)-[0-9a-f]{16}\.tmp$/;

/** Drafts of a folder whose process has ended. */
export interface OldDrafts {
  readonly removed: readonly string[];
  /** Begun in another PID namespace (a container, another machine's mount): nobody here can tell whether it lives. */
  readonly left: readonly string[];
}

/** Makes an empty folder beside `target`, on the same file system. @throws the system's error. */
export async function makeDraft(target: string): Promise<string> {
  const name = `.bootseal-${basename(target)}-${await ownMark()}-${randomBytes(8).toString('hex')}.tmp`;
  const path = join(dirname(target), name);
  await mkdir(path, { mode: 0o755 });
  return path;
}

/** Removes what processes that were killed left of `target`. @throws the system's error. */
export async function removeOldDrafts(target: string): Promise<OldDrafts> {
  const folder = dirname(target);
  const [, , own] = (await ownMark()).split('.');
  const removed: string[] = [];
  const left: string[] = [];
  for (const name of await readdir(folder)) {
    const [, of, pid = '', start, namespace] = DRAFT.exec(name) ?? [];
    if (of !== basename(target)) continue;
    const path = join(folder, name);
    if (namespace !== own) left.push(path);
    else if ((await startOf(pid)) !== start) {
      await rm(path, { recursive: true, force: true });
      removed.push(path);
    }
  }
  return { removed, left };
}

/** A PID is given to another process soon, in a container at once: with the time it began it is one process's. */
async function ownMark(): Promise<string> {
  const [, namespace = '0'] = /\[(\d+)\]/.exec(await readlink('/proc/self/ns/pid')) ?? [];
  return `${process.pid}.${await startOf(String(process.pid))}.${namespace}`;
}

/** When a process began, in clock ticks since the machine did: proc_pid_stat(5), field 22. Undefined: it has ended. */
async function startOf(pid: string): Promise<string | undefined> {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'latin1');
    // The program's name, in parentheses, may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // ESRCH: it ended between the two calls.
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}
