import { lstat, realpath, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { basename, dirname, join, resolve } from 'node:path';
import { cannotRead, codeOf, IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { type Lock, takeLock } from '../files/lock.ts';
import { makeFolders } from '../files/make-folders.ts';
import { lstatIfThere } from '../files/read-if-there.ts';

/*
 * Where a keyholder's socket stands. Its name is all that a client has, so nobody else may be able to put another in
 * its place: not in its folder, and not by renaming a folder above.
 */

/** Bytes that a unix socket's name may have (sockaddr_un, less its zero): what is longer would be cut, and another name. */
const MAX_NAME = 107;
const WRITABLE = 0o022;
const STICKY = 0o1000;

/**
 * The socket's name with every link on the way resolved, in a folder that nobody but `owner` and root may write.
 *
 * @param owner whose folders are as good as root's, beside our own.
 * @throws Refusal `unsafe-path`; UsageError for a name that no socket can have or a folder that is not there; IoError.
 */
export async function safeSocketPath(path: string, owner?: number): Promise<string> {
  const folder = await realpath(dirname(resolve(path))).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') throw new UsageError(`There is no folder ${dirname(path)}.`);
    throw cannotRead(dirname(path), error);
  });
  const whole = join(folder, basename(path));
  if (Buffer.byteLength(whole) > MAX_NAME)
    throw new UsageError(`${whole} is too long for a socket: ${MAX_NAME} bytes are the most.`);
  const trusted = new Set([0, process.geteuid?.(), owner]);
  for (let at = folder, inner = true; ; at = dirname(at), inner = false) {
    const { mode, uid } = await lstat(at).catch((error: unknown) => {
      throw cannotRead(at, error);
    });
    if (!trusted.has(uid)) throw unsafe(at, `it belongs to uid ${uid}`);
    // Below a sticky folder (/tmp) nobody renames what is not his own; in it anybody puts things.
    const safe = (mode & WRITABLE) === 0 || (!inner && (mode & STICKY) !== 0);
    if (!safe) throw unsafe(at, 'others may write there');
    if (at === dirname(at)) return whole;
  }
}

function unsafe(folder: string, why: string): Refusal {
  return new Refusal(
    'unsafe-path',
    `${folder} is no place for a keyholder's socket: ${why}, and could put another in its place.`,
    { path: folder },
  );
}

/**
 * Makes the name free for a socket of ours, and ours alone until the lock is released. A socket that a killed keyholder
 * left is removed, once it is sure that nobody listens.
 *
 * @param path as `safeSocketPath` has it.
 * @throws UsageError where a keyholder answers there, or something that is no socket stands there; Refusal
 *   `unsafe-path` for somebody else's socket.
 */
export async function claimSocketPath(path: string): Promise<Lock> {
  const found = await socketAt(path);
  if (found && found.uid !== process.geteuid?.()) {
    throw new Refusal('unsafe-path', `${path} is a socket of uid ${found.uid}'s, and is not replaced.`, {
      path,
      uid: found.uid,
    });
  }
  const another = () => new UsageError(`Another keyholder answers at ${path}.`);
  if (found && (await answers(path))) throw another();
  // Of two that start, both may find a dead socket: the second must not remove that of the first.
  const folder = `${path}.lock`;
  await makeFolders(folder, 0o700);
  const lock = await takeLock(join(folder, 'lock'), folder).catch((error: unknown) => {
    if (error instanceof IoError && error.code === 'EWOULDBLOCK') throw another();
    throw error;
  });
  try {
    const left = await socketAt(path);
    if (left) {
      if (await answers(path)) throw another();
      await rm(path);
    }
    return lock;
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** What is at a socket's name; undefined where nothing is. Throws a `UsageError` for what is no socket. */
export async function socketAt(path: string): Promise<{ readonly uid: number } | undefined> {
  const found = await lstatIfThere(path);
  if (!found || found.isSocket()) return found;
  throw new UsageError(`${path} is there already and is no socket; it is not replaced.`);
}

/** True unless the system says that nobody listens. */
async function answers(path: string): Promise<boolean> {
  return new Promise((done, reject) => {
    const connection = connect(path);
    connection.on('connect', () => {
      connection.destroy();
      done(true);
    });
    connection.on('error', (error) => {
      const code = codeOf(error);
      if (code === 'ECONNREFUSED' || code === 'ENOENT') done(false);
      // Its queue is full: somebody has it open.
      else if (code === 'EAGAIN') done(true);
      else reject(cannotRead(path, error));
    });
  });
}
