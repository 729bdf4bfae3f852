import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { writeFolderAtomically } from '../../src/files/atomic-folder.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

const folder = await temporaryFolder();
const FILES = new Map([
  ['a', Buffer.from('one')],
  ['b/c/d', Buffer.from('two')],
]);
let count = 0;
async function place(): Promise<string> {
  const path = join(folder, String(count++));
  await mkdir(path);
  return path;
}

describe('a folder that appears whole', () => {
  it('holds every file', async () => {
    const target = join(await place(), 'out');
    await writeFolderAtomically(target, FILES);
    assert.equal(await readFile(join(target, 'a'), 'utf8'), 'one');
    assert.equal(await readFile(join(target, 'b/c/d'), 'utf8'), 'two');
    assert.deepEqual((await readdir(join(target, '..'))).sort(), ['out']);
  });

  const taken: readonly [string, (path: string) => Promise<unknown>][] = [
    ['a folder', (path) => mkdir(path)],
    ['a file', (path) => writeFile(path, 'mine')],
    ['a symlink that leads nowhere', (path) => symlink('nowhere', path)],
  ];
  for (const [what, make] of taken) {
    it(`does not replace ${what}`, async () => {
      const around = await place();
      await make(join(around, 'out'));
      await assert.rejects(writeFolderAtomically(join(around, 'out'), FILES), {
        name: 'UsageError',
        message: /out exists already and is not replaced; name a folder that does not exist\.$/,
      });
      assert.deepEqual(await readdir(around), ['out']);
    });
  }

  it('does not appear at all where one file cannot be written', async () => {
    const around = await place();
    const clash = new Map([...FILES, ['a/b', Buffer.from('a is no folder')]]);
    await assert.rejects(writeFolderAtomically(join(around, 'out'), clash));
    assert.deepEqual(await readdir(around), []);
  });

  it('says why where there is no place for it', async () => {
    const around = await place();
    await assert.rejects(writeFolderAtomically(join(around, 'no/out'), FILES), IoError);
    assert.deepEqual(await readdir(around), []);
  });
});
