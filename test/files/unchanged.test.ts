import assert from 'node:assert/strict';
import { link, readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { identityOf } from '../../src/files/file-identity.ts';
import { openRegular } from '../../src/files/measure.ts';
import { readUnchanged } from '../../src/files/unchanged.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';

const folder = await temporaryFolder();
let links = 0;
const another = (path: string) => link(path, `${path}.${++links}`);

/** Reads a file, and does something to it during each read of it, by its number from 1. */
async function read(name: string, during: (path: string, read: number) => Promise<void>) {
  const path = join(folder, name);
  await writeFile(path, 'content');
  await utimes(path, 1e9, 1e9);
  const opened = await openRegular(path);
  let reads = 0;
  try {
    const { value, identity } = await readUnchanged(opened, path, async () => {
      const bytes = await readFile(path, 'latin1');
      await during(path, ++reads);
      return bytes;
    });
    assert.deepEqual(identity, identityOf(await stat(path, { bigint: true })));
    return { value, reads };
  } finally {
    await opened.handle.close();
  }
}

it('a file that nobody touches is read once', async () => {
  assert.deepEqual(await read('quiet', async () => {}), { value: 'content', reads: 1 });
});

it('one that is linked elsewhere meanwhile is read again, and known by what it is then', async () => {
  const during = async (path: string, number: number) => {
    if (number < 3) await another(path);
  };
  assert.deepEqual(await read('linked', during), { value: 'content', reads: 3 });
});

it('what was written with the times put back is what is read, and not what was there before', async () => {
  const during = async (path: string, number: number) => {
    if (number > 1) return;
    await writeFile(path, 'CONTENT');
    await utimes(path, 1e9, 1e9);
  };
  assert.deepEqual(await read('put-back', during), { value: 'CONTENT', reads: 2 });
});

it('one that is written to, or linked without end, has drifted', async () => {
  await assert.rejects(
    read('written', (path) => writeFile(path, 'CONTENT')),
    refused('drifted', /it was written to/),
  );
  await assert.rejects(read('busy', another), refused('drifted', /links were changed/));
});
