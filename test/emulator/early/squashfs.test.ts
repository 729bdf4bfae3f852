import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { deflateSync } from 'node:zlib';
import type { BlockDevice } from '../../../src/emulator/early/block-source.ts';
import { Squashfs } from '../../../src/emulator/early/squashfs.ts';
import { isKnownCompressor, unpackBlock } from '../../../src/emulator/early/squashfs-unpack.ts';
import { Malformed } from '../../../src/errors/malformed.ts';
import { decodeSquashfsSuperblock } from '../../../src/formats/archive/squashfs.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { makeSquashfs, noise, OS_RELEASE, type RootFiles } from '../../fixtures/squashfs.ts';

const folder = await temporaryFolder();

function device(bytes: Uint8Array): BlockDevice {
  return { size: bytes.length, read: async (at, length) => bytes.subarray(at, at + length) };
}

async function mounted(bytes: Uint8Array): Promise<Squashfs> {
  const superblock = decodeSquashfsSuperblock(bytes, bytes.length);
  const { compressor } = superblock;
  assert.ok(isKnownCompressor(compressor));
  const root = new Squashfs(device(bytes), superblock, compressor);
  await root.mount();
  return root;
}

const HOLED = Buffer.concat([Buffer.alloc(16_384), noise(5000, 'behind a hole')]);
const FILES: RootFiles = {
  'usr/lib/os-release': OS_RELEASE,
  'etc/os-release': '-> ../usr/lib/os-release',
  'etc/absolute': '-> /usr/lib/os-release',
  'etc/around': '-> /etc/../usr/./lib/../../../etc/os-release',
  'etc/through': '-> absolute',
  'etc/loop': '-> loop',
  'etc/nowhere': '-> /usr/lib/nothing',
  'etc/folder': '-> /usr/lib',
  'size/empty': new Uint8Array(0),
  'size/block': noise(4096, 'block'),
  'size/blocks': noise(65_536, 'blocks'),
  'size/tail': noise(10_000, 'tail'),
  'size/text': Buffer.alloc(30_000, 'text '),
  'size/holed': HOLED,
  'size/long': new Uint8Array(65_537),
  // More names than one run of a listing holds, and more bytes than one block of metadata.
  ...Object.fromEntries(
    Array.from({ length: 1500 }, (_, n) => [`many/a name of some length, ${n}`, Buffer.from(`${n}`)]),
  ),
};

const KINDS: Readonly<Record<string, readonly string[]>> = {
  gzip: ['-comp', 'gzip', '-b', '4096'],
  xz: ['-comp', 'xz', '-b', '8192'],
  'xz of another dictionary': ['-comp', 'xz', '-b', '1M', '-Xdict-size', '100%'],
  zstd: ['-comp', 'zstd', '-b', '4096'],
  'zstd without fragments': ['-comp', 'zstd', '-b', '4096', '-no-fragments', '-no-exports'],
  'stored blocks': ['-noI', '-noD', '-noF', '-no-xattrs', '-b', '16384'],
};

describe('a squashfs image of mksquashfs', () => {
  for (const [kind, words] of Object.entries(KINDS)) {
    it(`gives its files byte for byte: ${kind}`, async () => {
      const image = await makeSquashfs(join(folder, kind.replaceAll(' ', '-')), FILES, words);
      const root = await mounted(await readFile(image));
      for (const [path, content] of Object.entries(FILES)) {
        if (typeof content === 'string' || path === 'size/long' || /many.*[^0]$/.test(path)) continue;
        assert.deepEqual(Buffer.from((await root.read(path)) ?? 'absent'), Buffer.from(content), path);
      }
      for (const path of [
        'etc/os-release',
        '/etc/absolute',
        'etc/around',
        'etc/through',
        'etc/folder/os-release',
      ])
        assert.deepEqual(Buffer.from((await root.read(path)) ?? ''), OS_RELEASE, path);
      for (const path of ['etc/loop', 'etc/nowhere', 'etc', 'usr/lib/os-release/x', 'none', '', 'size/long'])
        assert.equal(await root.read(path), undefined, path);
    });
  }

  it('has the superblock that unsquashfs reads', async () => {
    const image = await makeSquashfs(join(folder, 'judged'), FILES, ['-comp', 'xz', '-b', '64K']);
    const said = execFileSync('unsquashfs', ['-s', image], { encoding: 'utf8' });
    const number = (words: RegExp) => Number(words.exec(said)?.[1]);
    const bytes = await readFile(image);
    const superblock = decodeSquashfsSuperblock(bytes, bytes.length);
    assert.deepEqual(
      [superblock.compressor, superblock.blockSize, superblock.inodes, superblock.fragments, superblock.ids],
      [
        /Compression (\w+)/.exec(said)?.[1],
        number(/Block size (\d+)/),
        number(/Number of inodes (\d+)/),
        number(/Number of fragments (\d+)/),
        number(/Number of ids (\d+)/),
      ],
    );
    assert.equal(superblock.size, number(/Filesystem size (\d+) bytes/));
  });

  it('that is damaged ends in Malformed or in an answer, never in anything else', async () => {
    const small = { 'etc/os-release': OS_RELEASE, 'usr/lib/x': '-> ../../etc/os-release' } as const;
    const image = await makeSquashfs(join(folder, 'damaged'), small, ['-noI', '-noD', '-noF', '-no-xattrs']);
    const bytes = (await readFile(image)).subarray(0, 4096);
    let refused = 0;
    const used = decodeSquashfsSuperblock(bytes, 4096).size;
    for (let at = 0; at < used; at++) {
      for (const mask of [0x01, 0x80, 0xff]) {
        const changed = Buffer.from(bytes);
        changed[at] = (changed[at] ?? 0) ^ mask;
        try {
          await (await mounted(changed)).read('usr/lib/x');
        } catch (error) {
          assert.ok(
            error instanceof Malformed || error instanceof assert.AssertionError,
            `byte ${at} xor ${mask}: ${(error as Error).stack}`,
          );
          refused++;
        }
      }
    }
    assert.ok(refused > 100, `${refused}`);
  });

  it('may not hold more in a block than a block has', async () => {
    const bomb = deflateSync(new Uint8Array(65_536));
    assert.equal((await unpackBlock('gzip', bomb, 65_536)).length, 65_536);
    await assert.rejects(unpackBlock('gzip', bomb, 65_535), /more than 65535 bytes/);
    await assert.rejects(unpackBlock('gzip', Buffer.from('not zlib'), 8192), Malformed);
    await assert.rejects(unpackBlock('zstd', Buffer.from('not zstd'), 8192), Malformed);
    await assert.rejects(unpackBlock('xz', Buffer.from('not xz'), 8192), Malformed);
  });
});
