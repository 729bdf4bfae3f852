import assert from 'node:assert/strict';
import { appendFile, copyFile, rename, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { demandSameFile, type FileIdentity, identityOf } from '../../src/files/file-identity.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const folder = await temporaryFolder();
const path = join(folder, 'file');
const identity = async (): Promise<FileIdentity> => identityOf(await stat(path, { bigint: true }));

it('an untouched file is the same file', async () => {
  await writeFile(path, 'content');
  demandSameFile(path, await identity(), await identity());
});

const CHANGES: Record<string, () => Promise<void>> = {
  'a longer file': () => appendFile(path, 'x'),
  'a shorter file': () => truncate(path, 3),
  'a file put in its place': async () => {
    await copyFile(path, `${path}.new`);
    await rename(`${path}.new`, path);
  },
  // The size is the same, and so is the date: only the inode's own time tells.
  'a file with its date set back': async () => {
    const { atime, mtime } = await stat(path);
    await writeFile(path, 'CONTENT');
    await utimes(path, atime, mtime);
  },
};

for (const [name, change] of Object.entries(CHANGES)) {
  it(`${name} has drifted`, async () => {
    await writeFile(path, 'content');
    // A day that no write of this moment can have.
    await utimes(path, 1e9, 1e9);
    const before = await identity();
    await change();
    const now = await identity();
    assert.throws(() => demandSameFile(path, before, now), {
      name: 'Refusal',
      code: 'drifted',
      message: /^\S+ changed while it was being used: (its|it|another) [a-z, ]+\.$/,
    });
  });
}

it('every part of the identity counts', async () => {
  await writeFile(path, 'content');
  const before = await identity();
  for (const key of ['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const) {
    assert.throws(() => demandSameFile(path, before, { ...before, [key]: before[key] + 1n }), {
      facts: { path, changed: key },
    });
  }
});
