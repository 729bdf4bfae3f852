import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, rename, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { it } from 'node:test';
import { makeDraft, removeOldDrafts } from '../../src/files/draft-folder.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const folder = await temporaryFolder();
let count = 0;

async function place(): Promise<string> {
  const around = join(folder, String(count++));
  await mkdir(around);
  return join(around, 'keys');
}

/** Gives a draft the name that it would have from another process. */
async function asOf(draft: string, change: (name: string) => string): Promise<string> {
  const renamed = join(draft, '..', change(basename(draft)));
  await rename(draft, renamed);
  return renamed;
}

it('a draft of a process that ended is removed with all that is in it', async () => {
  const target = await place();
  const child = spawn('true');
  await once(child, 'exit');
  const draft = await asOf(await makeDraft(target), (name) => name.replace(/-\d+\./, `-${child.pid}.`));
  await writeFile(join(draft, 'secret'), 'x');
  assert.deepEqual(await removeOldDrafts(target), { removed: [draft], left: [] });
  assert.deepEqual(await readdir(join(target, '..')), []);
});

it('so is one of an earlier process that had our number', async () => {
  const target = await place();
  const draft = await asOf(await makeDraft(target), (name) => name.replace(/(-\d+\.)\d+/, '$11'));
  assert.deepEqual((await removeOldDrafts(target)).removed, [draft]);
});

it('one of a process that lives stays, and nothing is said of it', async () => {
  const target = await place();
  const draft = await makeDraft(target);
  assert.deepEqual(await removeOldDrafts(target), { removed: [], left: [] });
  assert.deepEqual(await readdir(join(target, '..')), [basename(draft)]);
});

it('one of another container stays, and is named: nobody here can tell whether its process lives', async () => {
  const target = await place();
  const draft = await asOf(await makeDraft(target), (name) =>
    name.replace(/\.\d+(-[0-9a-f]{16}\.tmp)$/, '.1$1'),
  );
  assert.deepEqual(await removeOldDrafts(target), { removed: [], left: [draft] });
});

it('drafts of other targets, and files that only look like drafts, are left alone', async () => {
  const target = await place();
  const other = join(target, '..', 'keys-2028');
  await asOf(await makeDraft(other), (name) => name.replace(/(-\d+\.)\d+/, '$11'));
  await writeFile(join(target, '..', '.bootseal-keys.tmp'), '');
  assert.deepEqual(await removeOldDrafts(target), { removed: [], left: [] });
  assert.equal((await readdir(join(target, '..'))).length, 2);
});
