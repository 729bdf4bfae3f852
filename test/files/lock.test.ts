import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import fsPromises, { chmod, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { after, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { IoError } from '../../src/errors/io.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { takeLock } from '../../src/files/lock.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const CHILD = fileURLToPath(new URL('lock-child.js', import.meta.url));
const folder = await temporaryFolder();
let locks = 0;
async function newLock(): Promise<string> {
  const at = join(folder, `state-${++locks}`);
  await mkdir(at);
  return join(at, 'lock');
}

const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

/** A process that takes the lock, says what came of it, and keeps it until it is killed or told to let go. */
async function holder(path: string, before: readonly string[] = []) {
  const [file = '', ...words] = [...before, process.execPath, '--expose-gc', CHILD, path];
  const child = spawn(file, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  children.add(child);
  const [said] = await once(child.stdout.setEncoding('utf8'), 'data');
  return { child, said: String(said).trim() };
}

const held = (error: unknown) =>
  error instanceof IoError && /^(Process [0-9]+|Another process) is writing to /.test(error.message);

it('keeps a second writer out, in this process and in others, and lets it in afterwards', async () => {
  const path = await newLock();
  const lock = await takeLock(path, dirname(path));
  await assert.rejects(takeLock(path, dirname(path)), held);
  assert.match((await holder(path)).said, new RegExp(`^Process ${process.pid} is writing to `));
  await lock.release();
  assert.equal((await holder(path)).said, 'mine');
});

it('ends with its holder, which was killed; the file stays', async () => {
  const path = await newLock();
  const { child, said } = await holder(path);
  assert.equal(said, 'mine');
  await assert.rejects(takeLock(path, dirname(path)), new RegExp(`Process ${child.pid} is writing`));
  child.kill('SIGKILL');
  await once(child, 'close');
  assert.equal(await readFile(path, 'utf8'), `${child.pid}\n`);
  await (await takeLock(path, dirname(path))).release();
  assert.equal(await readFile(path, 'utf8'), `${process.pid}\n`);
});

it('of twenty that come at once after a killed one, one is in', async () => {
  const path = await newLock();
  await writeFile(path, '999999999\n');
  const came = await Promise.allSettled(Array.from({ length: 20 }, () => takeLock(path, dirname(path))));
  assert.equal(came.filter(({ status }) => status === 'fulfilled').length, 1);
});

it('a pid of another namespace says nothing: both writers are process 1', async () => {
  const path = await newLock();
  const own = ['unshare', '--user', '--map-root-user', '--pid', '--fork'];
  const first = await holder(path, own);
  assert.equal(first.said, 'mine');
  assert.equal(await readFile(path, 'utf8'), '1\n');
  assert.match((await holder(path, own)).said, /^Process 1 is writing to /);
  await assert.rejects(takeLock(path, dirname(path)), held);
});

it('nobody frees what somebody else holds, by whatever is written into the file', async () => {
  const path = await newLock();
  const { said } = await holder(path);
  assert.equal(said, 'mine');
  await writeFile(path, '');
  await assert.rejects(takeLock(path, dirname(path)), /^IoError: Another process is writing to /);
  await writeFile(path, '999999999\n');
  await assert.rejects(takeLock(path, dirname(path)), held);
});

it('a file that was removed under its holder lets nobody in', async () => {
  const path = await newLock();
  const { child } = await holder(path);
  await rm(path);
  await assert.rejects(takeLock(path, dirname(path)), /^IoError: Another process is writing to /);
  child.kill('SIGKILL');
  await once(child, 'close');
  await (await takeLock(path, dirname(path))).release();
});

it('a lock that nobody remembers is held until the process ends', async () => {
  const path = await newLock();
  const { said } = await holder(path);
  assert.equal(said, 'mine');
  await assert.rejects(takeLock(path, dirname(path)), held);
});

it('has its mode whatever the umask', async () => {
  const path = await newLock();
  const before = process.umask(0);
  try {
    await (await takeLock(path, dirname(path))).release();
  } finally {
    process.umask(before);
  }
  assert.equal((await stat(path)).mode & 0o777, 0o600);
});

async function withProgram(text: string | undefined, work: () => Promise<void>): Promise<void> {
  const { PATH } = process.env;
  const bin = join(folder, `bin-${++locks}`);
  await mkdir(bin);
  if (text !== undefined) {
    await writeFile(join(bin, 'flock'), text);
    await chmod(join(bin, 'flock'), 0o755);
  }
  process.env.PATH = bin;
  try {
    await work();
  } finally {
    process.env.PATH = PATH;
  }
}

it('without the program it names the package', async () => {
  const path = await newLock();
  await withProgram(undefined, () =>
    assert.rejects(
      takeLock(path, dirname(path)),
      (error) => error instanceof IoError && /install util-linux/.test(error.message),
    ),
  );
});

it('a file system that gives the lock to everybody is refused', async () => {
  const path = await newLock();
  await withProgram('#!/bin/sh\nexit 0\n', () =>
    assert.rejects(
      takeLock(path, dirname(path)),
      (error) => error instanceof UsageError && /local disk/.test(error.message),
    ),
  );
});

it('a lock that fails says why, and is not taken for one that is held', async () => {
  const path = await newLock();
  await withProgram('#!/bin/sh\necho "flock: 3: No locks available" >&2\nexit 1\n', () =>
    assert.rejects(takeLock(path, dirname(path)), /cannot be locked: flock: 3: No locks available\./),
  );
});

it('NFS is refused by its name', async () => {
  const path = await newLock();
  const { statfs } = fsPromises;
  Object.assign(fsPromises, {
    statfs: async (at: string) => Object.assign(await statfs(at), { type: 0x6969 }),
  });
  syncBuiltinESMExports();
  try {
    await assert.rejects(
      takeLock(path, dirname(path)),
      (error) => error instanceof UsageError && /\(NFS\)/.test(error.message),
    );
  } finally {
    Object.assign(fsPromises, { statfs });
    syncBuiltinESMExports();
  }
});
