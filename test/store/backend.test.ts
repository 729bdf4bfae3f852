import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { FolderBackend } from '../../src/store/folder-backend.ts';
import { asNobody } from '../files/nobody.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';
import { backendContract } from './backend-contract.ts';
import { MemoryBackend } from './memory-backend.ts';

const folder = await temporaryFolder();
let states = 0;
const newState = () => join(folder, `state-${++states}`);

backendContract('a folder', async () => new FolderBackend(newState()));
backendContract('memory', async () => new MemoryBackend());

it('a folder is not written through a link, and a link is not read', async () => {
  const state = newState();
  const elsewhere = join(folder, 'elsewhere');
  await mkdir(state);
  await mkdir(elsewhere);
  await symlink(elsewhere, join(state, 'channels'));
  const backend = new FolderBackend(state);
  const linked = refused('unsafe-path', /symbolic link/);
  await assert.rejects(backend.put('channels/stable/current', Buffer.from('1')), linked);
  await assert.rejects(backend.putIfAbsent('channels/x', Buffer.from('1')), linked);
  await assert.rejects(backend.get('channels/x'), linked);
  await assert.rejects(backend.list('channels'), linked);
  assert.deepEqual(await readdir(elsewhere), []);
  await writeFile(join(elsewhere, 'secret'), 'secret');
  await symlink(join(elsewhere, 'secret'), join(state, 'record'));
  await assert.rejects(backend.get('record'), (error) => error instanceof IoError && error.code === 'ELOOP');
});

it('below a folder that is not there is surely nothing, and of all else nothing is said at once', async () => {
  const state = newState();
  const backend = new FolderBackend(state);
  assert.equal(backend.isSurelyEmpty('armed/a'), true);
  await backend.put('armed/b/1', Buffer.from('1'));
  assert.equal(backend.isSurelyEmpty('armed/a'), true);
  assert.equal(backend.isSurelyEmpty('armed/b'), false);
  await writeFile(join(state, 'armed/file'), '');
  assert.equal(backend.isSurelyEmpty('armed/file/x'), false);
  // A link that leads to nothing, or to where nothing is: not what `list` would say nothing about.
  await symlink(join(folder, 'nowhere'), join(state, 'armed/link'));
  assert.equal(backend.isSurelyEmpty('armed/link'), false);
  assert.equal(backend.isSurelyEmpty('armed/link/x'), false);
  await chmod(join(state, 'armed'), 0);
  await asNobody(folder, async () => assert.equal(backend.isSurelyEmpty('armed/a'), false));
  assert.throws(() => backend.isSurelyEmpty('../x'), RangeError);
});

it('a record that cannot be read is not absent', async () => {
  const state = newState();
  const backend = new FolderBackend(state);
  await backend.put('a/secret', Buffer.from('1'));
  await mkdir(join(state, 'a/folder'));
  await assert.rejects(backend.get('a/folder'), IoError);
  await chmod(join(state, 'a/secret'), 0);
  const unreadable = (error: unknown) => error instanceof IoError && error.code === 'EACCES';
  await asNobody(folder, () => assert.rejects(backend.get('a/secret'), unreadable));
  await chmod(join(state, 'a'), 0);
  await asNobody(folder, async () => {
    await assert.rejects(backend.get('a/other'), unreadable);
    await assert.rejects(backend.list('a'), unreadable);
  });
});

for (const umask of [0, 0o077]) {
  it(`modes are exact under umask ${umask.toString(8).padStart(3, '0')}`, async () => {
    const state = newState();
    const backend = new FolderBackend(state);
    const before = process.umask(umask);
    try {
      await backend.put('a/b/record', Buffer.from('1'));
      await backend.putIfAbsent('a/b/fixed', Buffer.from('1'));
      await backend.put('private/key', Buffer.from('1'));
    } finally {
      process.umask(before);
    }
    const modes = ['.', 'a', 'a/b', 'private', 'a/b/record', 'a/b/fixed', 'private/key'];
    const found = await Promise.all(modes.map(async (name) => (await stat(join(state, name))).mode & 0o777));
    assert.deepEqual(found, [0o755, 0o755, 0o755, 0o700, 0o644, 0o444, 0o600]);
  });
}
