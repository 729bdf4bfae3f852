import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { type FileHandle, open, statfs } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf, IoError } from '../errors/io.ts';
import { UsageError } from '../errors/usage.ts';
import { explain } from './atomic-file.ts';
import { readFully, writeFully } from './read-fully.ts';
import { lstatIfThere } from './read-if-there.ts';

/*
 * One writer at a time, by the kernel: flock(2) on an open file. The lock belongs to the open file description, so it
 * ends with the process that holds it, however that ends; no pid is looked up, which another PID namespace would not
 * know, and nobody can free what somebody else holds. Node has no flock(): util-linux's `flock` is given the descriptor,
 * locks it and ends, and the lock stays with ours.
 */

export interface Lock {
  /** Lets the next one in. */
  release(): Promise<void>;
}

/** File systems (statfs(2)) whose locks other machines do not see, or see only when mounted so. */
const REMOTE: Readonly<Record<number, string>> = {
  26985: 'NFS',
  20859: 'SMB',
  4283649346: 'CIFS',
  4266872130: 'SMB2',
  16914839: '9p',
};

/** The name of a file system whose locks do not hold (statfs(2), f_type); undefined for all others. */
export function remoteFileSystem(type: number): string | undefined {
  return REMOTE[type >>> 0];
}

/** A pid and its newline. */
const MAX_PID = 16;
/** The file may be replaced between opening and locking it; more than once is no accident. */
const ATTEMPTS = 3;

/** Whoever forgets a lock holds it all the same: a handle that is collected as garbage would be closed. */
const kept = new Set<FileHandle>();

/**
 * Takes the lock that a file stands for; makes the file where there is none, and never removes it. A folder is locked
 * with it: somebody may remove the file, and the next one to come would have a file of its own. Both are the owner's
 * alone (0600, 0700): whoever may open one may hold it for ever.
 *
 * @param guard the folder, which is there already.
 * @throws IoError where another process holds it; UsageError where the file system does not lock.
 */
export async function takeLock(path: string, guard: string): Promise<Lock> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const file = await openLockFile(path);
    const handles = [file];
    try {
      await demandLocal(path);
      if (!(await flock(path, file.fd))) throw await heldBy(path, file);
      const folder = await open(guard, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW);
      handles.push(folder);
      if (!(await flock(path, folder.fd))) throw await heldBy(path, file);
      if (await isStill(path, file)) {
        await demandExclusive(path);
        // For people alone: who is to be waited for.
        await file.truncate(0);
        await writeFully(path, file, Buffer.from(`${process.pid}\n`), 0);
        for (const handle of handles) kept.add(handle);
        // The pid stays: it is read only while somebody holds the lock, who has written another.
        return { release: () => close(handles) };
      }
    } catch (error) {
      await close(handles);
      throw explain(error, path);
    }
    await close(handles);
  }
  throw new IoError(`${path} is being replaced by somebody; it is a lock and must stay.`, path, undefined);
}

async function close(handles: Iterable<FileHandle>): Promise<void> {
  for (const handle of handles) {
    kept.delete(handle);
    // Whatever close(2) says, the descriptor is gone, and the lock with it.
    await handle.close().catch(() => {});
  }
}

async function openLockFile(path: string): Promise<FileHandle> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600);
    const { mode, uid } = await handle.stat();
    if ((mode & 0o777) !== 0o600 && uid === process.geteuid?.()) await handle.chmod(0o600);
    return handle;
  } catch (error) {
    await handle?.close().catch(() => {});
    throw explain(error, path);
  }
}

async function heldBy(path: string, handle: FileHandle): Promise<IoError> {
  const text = (await readFully(path, handle, 0, MAX_PID)).toString('latin1');
  const [, pid] = /^([1-9][0-9]*)\n$/.exec(text) ?? [];
  const who = pid === undefined ? 'Another process' : `Process ${pid}`;
  const folder = dirname(path);
  return new IoError(`${who} is writing to ${folder}; try again when it has ended.`, folder, 'EWOULDBLOCK');
}

async function isStill(path: string, handle: FileHandle): Promise<boolean> {
  const [opened, named] = [await handle.stat(), await lstatIfThere(path)];
  return named !== undefined && named.dev === opened.dev && named.ino === opened.ino;
}

async function demandLocal(path: string): Promise<void> {
  const { type } = await statfs(path);
  const name = remoteFileSystem(type);
  if (name !== undefined) throw unlockable(path, ` (${name})`);
}

/** Some file systems say yes to everybody. Then a second lock on the same file is given, too. */
async function demandExclusive(path: string): Promise<void> {
  const second = await open(path, constants.O_RDWR | constants.O_NOFOLLOW);
  try {
    if (await flock(path, second.fd)) throw unlockable(path, '');
  } finally {
    await second.close().catch(() => {});
  }
}

function unlockable(path: string, kind: string): UsageError {
  return new UsageError(
    `${dirname(path)} lies on a file system${kind} whose locks do not keep a second writer out; put it on a local disk.`,
  );
}

/** True where the open file is ours now; false where somebody holds it. */
function flock(path: string, fd: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    // In `/`: a folder that was removed would look as if there were no such program.
    const child = spawn('flock', ['-n', '-x', '3'], { cwd: '/', stdio: ['ignore', 'ignore', 'pipe', fd] });
    let said = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(0, 200);
    });
    child.on('error', (error) => {
      const why =
        codeOf(error) === 'ENOENT' ? 'there is no "flock"; install util-linux' : `"flock": ${codeOf(error)}`;
      reject(new IoError(`${path} cannot be locked: ${why}.`, path, codeOf(error), { cause: error }));
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve(true);
      // Without a word: it is held. Any other failure says what it is.
      else if (code === 1 && said === '') resolve(false);
      else {
        const why = said.trim().split('\n')[0] || `"flock" ended with ${signal ?? code}`;
        reject(new IoError(`${path} cannot be locked: ${why}.`, path, undefined));
      }
    });
  });
}
