import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, link, mkdir, readdir, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { type PackSource, planArchive } from '../../src/build/pack.ts';
import { packTree } from '../../src/operations/pack-tree.ts';
import { failed, misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { writeTree } from '../fixtures/release.ts';

/** The site's own initrd. GNU cpio says what is in it; a kernel unpacks it in e2e/. */

const folder = await temporaryFolder();
let trees = 0;
const newTree = (files: Record<string, string>) => writeTree(join(folder, `tree-${trees++}`), files);

async function packed(sources: readonly PackSource[]): Promise<Buffer> {
  const archive = await planArchive(sources);
  const pieces: Uint8Array[] = [];
  for await (const piece of archive.content()) pieces.push(piece);
  const bytes = Buffer.concat(pieces);
  assert.equal(bytes.length, archive.size, 'the size that was announced');
  return bytes;
}

const listed = (bytes: Buffer) =>
  execFileSync('cpio', ['-itvn', '--quiet'], { input: bytes, env: { TZ: 'UTC', LC_ALL: 'C' } })
    .toString()
    .trimEnd()
    .split('\n')
    .map((line) => line.replace(/ +/g, ' '));

describe('an initrd of the site’s own', () => {
  it('holds a file at its top, owned by root, without a time', async () => {
    const tree = await newTree({ 'preseed.cfg': 'd-i' });
    const bytes = await packed([{ tree, from: 'preseed.cfg' }]);
    assert.deepEqual(listed(bytes), ['-rw-r--r-- 1 0 0 3 Jan 1 1970 preseed.cfg']);
    assert.equal(bytes.length % 4, 0);
  });

  it('holds a folder’s content, folders before what is in them, and the place that was asked for', async () => {
    const tree = await newTree({ 'site/etc/motd': 'hello', 'site/run.sh': '#!/bin/sh', 'root.sfs': 'hsqs' });
    await chmod(join(tree, 'site/run.sh'), 0o700);
    await symlink('motd', join(tree, 'site/etc/issue'));
    const bytes = await packed([
      { tree, from: 'site' },
      { tree, from: 'root.sfs', at: 'medium/live/root.sfs' },
    ]);
    assert.deepEqual(listed(bytes), [
      'drwxr-xr-x 2 0 0 0 Jan 1 1970 etc',
      'lrwxrwxrwx 1 0 0 4 Jan 1 1970 etc/issue -> motd',
      '-rw-r--r-- 1 0 0 5 Jan 1 1970 etc/motd',
      'drwxr-xr-x 2 0 0 0 Jan 1 1970 medium',
      'drwxr-xr-x 2 0 0 0 Jan 1 1970 medium/live',
      '-rw-r--r-- 1 0 0 4 Jan 1 1970 medium/live/root.sfs',
      '-rwxr-xr-x 1 0 0 9 Jan 1 1970 run.sh',
    ]);
  });

  it('is the same for the same files, whatever their times, owners, modes and order', async () => {
    const files = { 'a/x': '1', 'a/y': '22', b: '333', 'a.c': '4444' };
    const one = await newTree(files);
    const two = await newTree(Object.fromEntries(Object.entries(files).reverse()));
    await utimes(join(two, 'b'), 1, 1);
    await chmod(join(two, 'b'), 0o600);
    await rm(join(two, 'a.c'));
    await writeFile(join(two, 'other'), '4444');
    await link(join(two, 'other'), join(two, 'a.c'));
    const from = (tree: string) => ['b', 'a', 'a.c'].map((name) => ({ tree, from: name, at: `in/${name}` }));
    assert.ok((await packed(from(one))).equals(await packed(from(two).reverse())));
  });

  it('is read piece by piece, and what changes meanwhile ends it', async () => {
    const tree = await newTree({ large: '' });
    const size = 3 * 2 ** 20 + 5;
    await writeFile(join(tree, 'large'), Buffer.alloc(size, 'x'));
    const archive = await planArchive([{ tree, from: 'large' }]);
    const seen: number[] = [];
    await assert.rejects(
      async () => {
        for await (const piece of archive.content()) {
          seen.push(piece.length);
          if (seen.length === 3) await truncate(join(tree, 'large'), size - 1);
        }
      },
      failed('drifted', /large changed while it was (packed|read)/),
    );
    assert.ok(Math.max(...seen) <= 2 ** 20);
  });
});

describe('not packed:', () => {
  for (const [what, spoil, code, says] of [
    [
      'a link that was named',
      (tree: string) => symlink('/etc/passwd', join(tree, 'thing')),
      'unsafe-path',
      /is a symbolic link/,
    ],
    [
      'a link out of its folder',
      async (tree: string) => {
        await mkdir(join(tree, 'thing'));
        await symlink('../../secret', join(tree, 'thing/link'));
      },
      'unsafe-path',
      /thing\/link is a link that leads out \(\.\.\/\.\.\/secret\)/,
    ],
    [
      'a link to a file of somebody else’s',
      async (tree: string) => {
        await mkdir(join(tree, 'thing'));
        await symlink('/etc/passwd', join(tree, 'thing/link'));
      },
      'unsafe-path',
      /is a link that leads out/,
    ],
    [
      'a FIFO',
      async (tree: string) => void execFileSync('mkfifo', [join(tree, 'thing')]),
      'unsafe-path',
      /neither a file nor a folder/,
    ],
    [
      'what the overlay would load',
      (tree: string) => writeTree(tree, { 'thing/bootseal/bin/curl': 'x' }),
      'unsafe-path',
      /would lie at bootseal, which is the overlay's/,
    ],
    [
      'a loader’s list of libraries',
      (tree: string) => writeTree(tree, { 'thing/etc/ld.so.preload': 'x' }),
      'unsafe-path',
      /would lie at etc\/ld\.so\.preload/,
    ],
    [
      'a file called as the end of an archive',
      (tree: string) => writeTree(tree, { 'thing/TRAILER!!!': 'x' }),
      'unsafe-path',
      /"TRAILER!!!" is a name that no archive should hold/,
    ],
    [
      'a name of two lines',
      (tree: string) => writeTree(tree, { 'thing/a\nb': 'x' }),
      'unsafe-path',
      /a name that no archive should hold/,
    ],
    [
      'more than any loader takes',
      async (tree: string) => {
        await writeTree(tree, { 'thing/a': '', 'thing/b': '' });
        for (const name of ['a', 'b']) await truncate(join(tree, 'thing', name), 2 ** 31);
      },
      'too-large',
      /more than any loader takes/,
    ],
    ['a folder of nothing', (tree: string) => mkdir(join(tree, 'thing')), 'usage', /nothing to pack/],
    [
      'a file of 4 GiB',
      async (tree: string) => {
        await writeFile(join(tree, 'thing'), '');
        await truncate(join(tree, 'thing'), 2 ** 32);
      },
      'too-large',
      /fewer than 4 GiB/,
    ],
    ['what is not there', async () => {}, 'usage', /There is no .*thing to pack/],
  ] as const) {
    it(what, async () => {
      const tree = await newTree({ secret: 's' });
      await spoil(tree);
      await assert.rejects(packed([{ tree, from: 'thing' }]), failed(code, says));
    });
  }

  it('two files of one place', async () => {
    const tree = await newTree({ a: '1', b: '2' });
    const sources = [
      { tree, from: 'a', at: 'x' },
      { tree, from: 'b', at: 'x' },
    ];
    await assert.rejects(packed(sources), misused(/Two things would be packed as x/));
    const below = [
      { tree, from: 'a', at: 'x' },
      { tree, from: 'b', at: 'x/y' },
    ];
    await assert.rejects(packed(below), misused(/below x, which is no folder there/));
  });
});

it('is ended by whoever watches, and leaves nothing', async () => {
  const tree = await newTree({ large: '' });
  await writeFile(join(tree, 'large'), Buffer.alloc(3 * 2 ** 20, 'x'));
  const stop = new Error('enough');
  const ended = packTree(tree, 'pack.img', [{ from: 'large' }], (bytes) => {
    if (bytes > 2 ** 20) throw stop;
  });
  await assert.rejects(ended, (error) => error === stop);
  assert.deepEqual(await readdir(tree), ['large']);
});
