import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { readInitramfs } from '../../src/emulator/initramfs.ts';
import type { InitramfsTree } from '../../src/emulator/initramfs-tree.ts';
import {
  archive,
  COMPRESS,
  dir,
  entry,
  file,
  node,
  symlink,
  TYPE,
  zeros,
} from '../fixtures/odd-initramfs/parts.ts';

/** Where the reader once differed from a kernel (e2e/initramfs.test.ts), each as the kernel has it. */
const { gzip, lz4 } = COMPRESS;

async function read(...initrds: Uint8Array[]): Promise<InitramfsTree> {
  return readInitramfs(initrds, { keep: () => true });
}

function content(tree: InitramfsTree, path: string): string {
  return Buffer.from(tree.read(path)).toString('latin1');
}

function owner(tree: InitramfsTree, path: string): string {
  const stat = tree.stat(path);
  return `${stat?.mode.toString(8)} ${stat?.uid}:${stat?.gid}`;
}

/** Without what is built in. */
function names(tree: InitramfsTree): string[] {
  return tree.list('/').filter((name) => name !== 'dev' && name !== 'root');
}

describe('a kernel’s initramfs', () => {
  it('has /dev, its console and /root from the beginning', async () => {
    const tree = await read(archive(file('dev/a', 'a'), file('root/b', 'b'), file('etc/c', 'c')));
    assert.deepEqual([content(tree, 'dev/a'), content(tree, 'root/b')], ['a', 'b']);
    assert.deepEqual(
      ['', 'dev', 'root'].map((path) => owner(tree, path)),
      ['1777 0:0', '755 0:0', '700 0:0'],
    );
    assert.deepEqual(tree.stat('dev/console')?.rdev, { major: 5, minor: 1 });
    assert.equal(tree.exists('etc'), false);
  });

  it('takes a slash at the end of a name for folders alone', async () => {
    const tree = await read(
      archive(
        dir('dir/'),
        file('file/', 'x'),
        symlink('link/', 'dir'),
        node('fifo/', 'fifo'),
        file('first', '1', { ino: 5, nlink: 2 }),
        file('second/', '2', { ino: 5, nlink: 2 }),
      ),
    );
    assert.deepEqual(names(tree), ['dir', 'first']);
    assert.equal(content(tree, 'first'), '1');
    assert.equal(tree.remarks.length, 4);
  });

  it('removes an empty folder for a file with a slash, which it then does not make', async () => {
    const tree = await read(
      archive(dir('d'), file('d/', 'x'), dir('full'), dir('full/x'), file('full/', 'x')),
    );
    assert.deepEqual(names(tree), ['full']);
  });

  it('gives a folder behind a symlink the attributes that its name with a slash has', async () => {
    const tree = await read(
      archive(dir('real'), symlink('link', 'real'), dir('link/', { mode: TYPE.dir | 0o711, uid: 7 })),
    );
    assert.equal(tree.readlink('link'), 'real');
    assert.equal(owner(tree, 'real'), '711 7:0');
  });

  it('gives a folder that stands in the way the owner of a symlink, and owner and mode of a device', async () => {
    const tree = await read(
      archive(
        ...['a', 'b'].flatMap((name) => [dir(name), dir(`${name}/x`)]),
        symlink('a', 'x', { uid: 44, gid: 45 }),
        node('b', 'char', { mode: TYPE.char | 0o4712, uid: 12 }),
      ),
    );
    assert.deepEqual([owner(tree, 'a'), owner(tree, 'b')], ['755 44:45', '4712 12:0']);
    assert.equal(tree.remarks.length, 2);
  });

  it('loses a file’s further names where its first found no place', async () => {
    const same = { ino: 5, nlink: 3 };
    const tree = await read(
      archive(file('no/a', 'a', same), file('b', 'b', same), dir('no'), file('c', 'c', same)),
    );
    assert.deepEqual(names(tree), ['no']);
    assert.match(tree.remarks.join(), /"b": dropped, "no\/a", which it links to, is gone/);
  });

  it('links to no folder that took the place of a file’s first name', async () => {
    const same = { ino: 5, nlink: 2 };
    const tree = await read(archive(file('a', 'a', same), dir('a'), file('b', 'b', same)));
    assert.deepEqual(names(tree), ['a']);
    assert.equal(owner(tree, 'a'), '755 0:0');
  });

  it('writes through a symlink that took the place of a file’s first name', async () => {
    const same = { ino: 5, nlink: 2 };
    const through = (target: string) =>
      archive(file('there', 'old'), file('a', 'a', same), symlink('a', target), file('b', 'new', same));
    const tree = await read(through('there'));
    assert.deepEqual([content(tree, 'there'), tree.readlink('b')], ['new', 'there']);
    const made = await read(through('not-there'));
    assert.deepEqual([content(made, 'there'), content(made, 'not-there')], ['old', 'new']);
  });

  it('keeps what is written through such a symlink where its target is wanted', async () => {
    const same = { ino: 5, nlink: 2 };
    const tree = await readInitramfs(
      [archive(file('a', 'a', same), symlink('a', 'key'), file('b', 'secret', same))],
      { keep: (path) => path === 'key', asked: ['key'] },
    );
    assert.equal(content(tree, 'key'), 'secret');
  });

  it('has nothing where an entry without type stands', async () => {
    const tree = await read(
      archive(
        file('a', 'a'),
        file('b', 'b'),
        entry('b', '', { mode: 0o644 }),
        entry('c', '', { mode: 0o644 }),
      ),
    );
    assert.deepEqual(names(tree), ['a']);
    assert.deepEqual(tree.remarks, [
      '"b": dropped, it has no file type',
      '"c": dropped, it has no file type',
    ]);
  });

  it('has symlinks to nothing, which lead to where they stand', async () => {
    const tree = await read(
      archive(dir('d'), symlink('d/here', ''), file('d/here/x', 'x'), symlink('top', '\0x')),
    );
    assert.deepEqual([tree.readlink('d/here'), tree.readlink('top')], ['', '']);
    assert.equal(content(tree, 'top/d/x'), 'x');
  });

  it('has symlinks to 4,095 bytes and to no more', async () => {
    const tree = await read(
      archive(symlink('a', `${'t'.repeat(4095)}\0`), symlink('b', 't'.repeat(4096)), file('c', 'c')),
    );
    assert.deepEqual(names(tree), ['a', 'c']);
    assert.match(tree.remarks.join(), /"b": dropped, its target has 4096 bytes/);
  });

  it('leaves owners as they are where the entry names none', async () => {
    const none = { uid: 0xffff_ffff, gid: 0xffff_ffff };
    const tree = await read(
      archive(file('a', 'a', { uid: 6, gid: 7 }), file('a', 'b', none), dir('d', none)),
    );
    assert.deepEqual([owner(tree, 'a'), owner(tree, 'd')], ['644 6:7', '755 0:0']);
  });

  it('has devices whose numbers have twelve bits and twenty, and none for what is no device', async () => {
    const tree = await read(
      archive(node('more', 'char', { rdev: [4097, 0x10_0001] }), node('fifo', 'fifo', { rdev: [1, 3] })),
    );
    assert.deepEqual(
      ['more', 'fifo'].map((path) => tree.stat(path)?.rdev),
      [
        { major: 1, minor: 1 },
        { major: 0, minor: 0 },
      ],
    );
  });

  it('may be compressed nothing, or begin with compressed zeros, behind another archive alone', async () => {
    const [a, b] = [archive(file('a', 'a')), archive(file('b', 'b'))];
    const tree = await read(a, gzip(zeros(0)), gzip(zeros(5)), gzip(Buffer.concat([zeros(8), b])));
    assert.deepEqual(names(tree), ['a', 'b']);
    for (const first of [zeros(0), zeros(500)]) {
      await assert.rejects(read(gzip(first), a), { code: 'malformed' });
    }
    await assert.rejects(read(a, gzip(Buffer.concat([zeros(6), b]))), { message: /unaligned/ });
  });

  it('may be gzip with a file name of any length, and not without its end', async () => {
    const packed = gzip(archive(file('a', 'a')));
    packed[3] = 8;
    const named = (name: string) =>
      Buffer.concat([packed.subarray(0, 10), Buffer.from(name), packed.subarray(10)]);
    assert.deepEqual(names(await read(named(`${'n'.repeat(9000)}\0`))), ['a']);
    await assert.rejects(read(named('n').subarray(0, 11)), { message: /file name without end/ });
  });
});

describe('an initrd of lz4', () => {
  const packed = (rest: number): Buffer => {
    for (let length = 1; ; length++) {
      const bytes = lz4(archive(file('a', 'lz4'.repeat(length))));
      if (bytes.length % 4 === rest) return bytes;
    }
  };
  const plain = archive(file('b', 'b'));

  it('is refused before another one, whose beginning a kernel takes for its next chunk', async () => {
    for (const rest of [0, 1, 2, 3]) {
      await assert.rejects(read(packed(rest), plain), {
        code: 'malformed',
        message: /initrd 1 cannot be unpacked: lz4: no end before the next initrd/,
      });
    }
  });

  it('may be the last, or stand before zeros or another one of its kind', async () => {
    for (const rest of [0, 1, 2, 3]) {
      assert.deepEqual(names(await read(plain, packed(rest))), ['a', 'b']);
      assert.deepEqual(names(await read(packed(rest), Buffer.concat([zeros(4), plain]))), ['a', 'b']);
      assert.deepEqual(names(await read(Buffer.concat([packed(rest), zeros(8)]), plain)), ['a', 'b']);
    }
    assert.deepEqual(names(await read(packed(0), lz4(plain))), ['a', 'b']);
    await assert.rejects(read(packed(3), lz4(plain)), { message: /no end before the next initrd/ });
  });
});
