import assert from 'node:assert/strict';
import { chmod, mkdir, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { FolderTree } from '../../src/files/folder-tree.ts';
import { MemoryTree } from '../../src/files/memory-tree.ts';
import { RememberedFile, rememberedTree } from '../../src/trust/remembered-tree.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { writeTree } from '../fixtures/release.ts';
import { codeOf } from './codes.ts';
import { asNobody } from './nobody.ts';
import { CONTENT, treeContract } from './tree-contract.ts';

const folder = await temporaryFolder();
let made = 0;
const inMemory = new Map(Object.entries(CONTENT).map(([path, text]) => [path, Buffer.from(text)]));
const written = () => writeTree(join(folder, String(made++)), CONTENT);

treeContract('a folder', async () => new FolderTree(await written()));
treeContract('memory', async () => new MemoryTree('memory', inMemory));
treeContract('memory over a folder', async () => {
  const below = await writeTree(join(folder, String(made++)), { ...CONTENT, 'a/kernel': 'another kernel' });
  const top = new Map([['a/kernel', Buffer.from('kernel')]]);
  return new MemoryTree('both', top, new FolderTree(below));
});

it('a folder: what leads out of the tree or is no regular file is refused, never followed', async () => {
  const path = await written();
  await symlink('/etc/hostname', join(path, 'link'));
  await mkdir(join(path, 'folder'));
  const tree = new FolderTree(path);
  for (const bad of ['../kernel', '/etc/hostname', 'a/../empty', '', 'link', 'folder']) {
    assert.equal(await codeOf(tree.open(bad)), 'unsafe-path', bad);
    assert.equal(await codeOf(tree.read(bad, 10)), 'unsafe-path', bad);
  }
});

it('a folder: what may not be read is an I/O error, and not absent', async () => {
  const path = await written();
  await chmod(join(path, 'boot.ipxe'), 0o000);
  await chmod(join(path, 'a'), 0o000);
  const tree = new FolderTree(path);
  await asNobody(folder, async () => {
    assert.equal(await codeOf(tree.read('boot.ipxe', 10)), 'EACCES');
    assert.equal(await codeOf(tree.open('a/kernel')), 'EACCES');
    assert.equal(await codeOf(tree.list('a')), 'EACCES');
  });
});

it('a folder: a file is opened without a byte of it being read', async () => {
  const path = await written();
  await writeFile(join(path, 'hole'), '');
  await truncate(join(path, 'hole'), 8 * 2 ** 40);
  const file = await new FolderTree(path).open('hole');
  assert.equal(file.size, 8 * 2 ** 40);
  await file.close();
});

it('a remembered file answers what it was asked, and never guesses', async () => {
  const file = new RememberedFile(await new MemoryTree('memory', inMemory).open('a/kernel'));
  const asked = [{ kind: 'digest', hash: 'sha256' }] as const;
  const first = await file.measure(asked);
  const tree = rememberedTree('again', new Map(), new Map([['a/kernel', file]]));
  const again = await tree.open('a/kernel');
  assert.deepEqual(await again.measure(asked), first);
  assert.equal(again.size, 6);
  assert.equal(await codeOf(again.measure([{ kind: 'digest', hash: 'sha512' }])), 'no-verdict');
  const suffix = Buffer.from('x');
  assert.equal(await codeOf(again.measure([{ kind: 'digest', hash: 'sha256', suffix }])), 'no-verdict');
});
