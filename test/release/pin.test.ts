import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { link, open, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { Refusal } from '../../src/errors/refusal.ts';
import { openRegular } from '../../src/files/measure.ts';
import { fileResource } from '../../src/release/file-resource.ts';
import { FileExport } from '../../src/serve/nbd/nbd-file-export.ts';
import { temporaryFolder } from '../fixtures/folder.ts';

/** A store links one object into many releases: that changes nothing of the file but its inode’s time. */

const folder = await temporaryFolder();
const CONTENT = Buffer.alloc(3 * 4096, 'content ');
let count = 0;

async function pinned() {
  count += 1;
  const path = join(folder, `file-${count}`);
  await writeFile(path, CONTENT);
  const { handle, identity } = await openRegular(path);
  await handle.close();
  const sha256 = createHash('sha256').update(CONTENT).digest('hex');
  return { path, file: { path, name: 'root.sfs', size: CONTENT.length, sha256, identity } };
}

/** Another byte, with the times of before: only the inode's own time tells. */
async function changeInSecret(path: string): Promise<void> {
  const { atime, mtime } = await stat(path);
  const handle = await open(path, 'r+');
  await handle.write('X', 5000);
  await handle.close();
  await utimes(path, atime, mtime);
}

describe('a file that is served over HTTP and TFTP', () => {
  it('goes on being served when links to it come and go, also in the middle of an answer', async () => {
    const { path, file } = await pinned();
    const resource = fileResource(file);
    const before = await resource.open();
    assert.ok(!(before instanceof Refusal));
    await link(path, `${path}.other`);
    await before.check();
    const after = await resource.open();
    await unlink(`${path}.other`);
    await after.check();
    await Promise.all([before.close(), after.close()]);
  });

  it('is not, when it was changed and its times were put back', async () => {
    const { path, file } = await pinned();
    const whole = new Date(Math.floor(Date.now() / 1000) * 1000);
    await utimes(path, whole, whole);
    const { handle, identity } = await openRegular(path);
    await handle.close();
    const resource = fileResource({ ...file, identity });
    const before = await resource.open();
    await changeInSecret(path);
    await assert.rejects(before.check(), { code: 'drifted' });
    await assert.rejects(resource.open(), { code: 'drifted' });
    await before.close();
  });
});

describe('a file that is served over NBD', () => {
  it('goes on being served when it is linked, and every block is looked at anew', async () => {
    const { path, file } = await pinned();
    const looked: number[] = [];
    const verify = (index: number) => {
      looked.push(index);
      return true;
    };
    const opened = await new FileExport({ name: 'root', file, verify }).open();
    await opened.read(Buffer.alloc(CONTENT.length), 0);
    opened.check();
    await link(path, `${path}.other`);
    opened.check();
    await opened.read(Buffer.alloc(CONTENT.length), 0);
    opened.check();
    assert.deepEqual(looked, [0, 1, 2, 0, 1, 2]);
    await opened.close();
  });

  it('sends no block that was changed, though the times were put back', async () => {
    const { path, file } = await pinned();
    const whole = new Date(Math.floor(Date.now() / 1000) * 1000);
    await utimes(path, whole, whole);
    const { handle, identity } = await openRegular(path);
    await handle.close();
    const verify = (_index: number, block: Buffer) => !block.includes('X');
    const opened = await new FileExport({ name: 'root', file: { ...file, identity }, verify }).open();
    await opened.read(Buffer.alloc(10), 0);
    opened.check();
    const before = opened.generation;
    await changeInSecret(path);
    opened.check();
    assert.ok(opened.generation > before, 'what was read so far is read once more before it leaves');
    await opened.read(Buffer.alloc(10), 0);
    await assert.rejects(async () => opened.read(Buffer.alloc(10), 4096), { code: 'bad-signature' });
    await opened.close();
  });

  describe('and has no hash tree that its blocks are held against', () => {
    it('goes on being served when it is linked or renamed', async () => {
      const { path, file } = await pinned();
      const opened = await new FileExport({ name: 'root', file }).open();
      await opened.read(Buffer.alloc(10), 0);
      opened.check();
      await rename(path, `${path}.other`);
      opened.check();
      const into = Buffer.alloc(CONTENT.length);
      await opened.read(into, 0);
      opened.check();
      assert.deepEqual(into, CONTENT);
      // A link more while it is read anew.
      await link(`${path}.other`, path);
      opened.check();
      const reading = opened.read(into, 0);
      await unlink(path);
      await reading;
      opened.check();
      await opened.read(into, 0);
      opened.check();
      await opened.close();
    });

    it('sends nothing of it any more once it was changed, though the times were put back', async () => {
      const { path, file } = await pinned();
      const whole = new Date(Math.floor(Date.now() / 1000) * 1000);
      await utimes(path, whole, whole);
      const { handle, identity } = await openRegular(path);
      await handle.close();
      const told: Refusal[] = [];
      const onShut = (refusal: Refusal) => told.push(refusal);
      const root = new FileExport({ name: 'root', file: { ...file, identity }, onShut });
      const opened = await root.open();
      await opened.read(Buffer.alloc(10), 0);
      opened.check();
      const before = opened.generation;
      await changeInSecret(path);
      // Only looked at: what was read so far waits for the whole file to be read anew.
      opened.check();
      assert.ok(opened.generation > before);
      await assert.rejects(async () => opened.read(Buffer.alloc(10), 0), { code: 'drifted' });
      assert.throws(() => opened.check(), { code: 'drifted' });
      assert.deepEqual(
        told.map(({ code }) => code),
        ['drifted'],
      );
      await opened.close();
      await assert.rejects(root.open(), { code: 'drifted' });
    });

    it('nor what was changed so before anyone came', async () => {
      const { path, file } = await pinned();
      const whole = new Date(Math.floor(Date.now() / 1000) * 1000);
      await utimes(path, whole, whole);
      const { handle, identity } = await openRegular(path);
      await handle.close();
      await changeInSecret(path);
      const opened = await new FileExport({ name: 'root', file: { ...file, identity } }).open();
      await assert.rejects(async () => opened.read(Buffer.alloc(10), 0), { code: 'drifted' });
      await opened.close();
    });
  });
});
