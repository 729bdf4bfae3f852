import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  decodeBlockWord,
  decodeDirectory,
  decodeFragmentEntry,
  decodeInode,
  decodeMetadataHeader,
  decodeSquashfsSuperblock,
  inodeLength,
} from '../../../src/formats/archive/squashfs.ts';
import { demandCutsRefused, demandFlipsHandled, malformed } from '../strict.ts';

const NONE = 'ffffffffffffffff';
/** Fields in order, as they stand: see squashfs_super_block in fs/squashfs/squashfs_fs.h. */
const SUPERBLOCK = Buffer.from(
  [
    '68737173 07000000 00000000 00000200 01000000 0600 1100 c000 0100 0400 0000',
    '2100030000000000 0010000000000000 e00f000000000000',
    `${NONE} 8000000000000000 0001000000000000 8001000000000000 c001000000000000`,
  ]
    .join('')
    .replaceAll(' ', ''),
  'hex',
);

const changed = (at: number, hex: string): Uint8Array => {
  const bytes = Buffer.from(SUPERBLOCK);
  bytes.write(hex, at, 'hex');
  return bytes;
};

describe('the superblock of a squashfs', () => {
  it('is read', () => {
    assert.deepEqual(decodeSquashfsSuperblock(SUPERBLOCK, 4096), {
      compressor: 'zstd',
      blockSize: 131_072,
      size: 4096,
      inodes: 7,
      fragments: 1,
      ids: 1,
      root: { block: 3, offset: 33 },
      inodeTable: 128,
      directoryTable: 256,
      fragmentIndex: 384,
      idIndex: 4064,
      exportIndex: 448,
    });
    assert.equal(decodeSquashfsSuperblock(changed(88, NONE), 4096).exportIndex, undefined);
    assert.equal(decodeSquashfsSuperblock(changed(16, '00000000'), 4096).fragmentIndex, undefined);
  });

  const ODD: readonly (readonly [what: string, at: number, hex: string, fact: RegExp])[] = [
    ['another magic', 0, '68737174', /magic/],
    ['version 3', 28, '0300', /version/],
    ['version 4.1', 30, '0100', /version/],
    ['a block size of 2048', 12, '0008', /block size/],
    ['a block size that its logarithm is not of', 22, '1000', /block size/],
    ['a compressor that there is not', 20, '0700', /compressor/],
    ['no compressor', 20, '0000', /compressor/],
    ['more bytes than the device has', 40, '0110', /behind/],
    ['a table behind its end', 64, '0010', /behind/],
    ['a table far behind its end', 71, '80', /behind/],
    ['a table inside the superblock', 64, '5f', /out of order/],
    ['directories before inodes', 72, '8000', /out of order/],
    ['no owner of anything', 26, '0000', /no id/],
    ['fragments without a table', 80, NONE, /fragment/],
    ['a root at more than 48 bits', 38, '01', /48 bits/],
    ['a root behind its metadata block', 32, '0020', /8192/],
  ];
  for (const [what, at, hex, fact] of ODD) {
    it(`is refused with ${what}`, () => {
      assert.throws(() => decodeSquashfsSuperblock(changed(at, hex), 4096), malformed(fact));
    });
  }

  it('is refused when it is cut, and handled when it is changed', () => {
    demandCutsRefused((bytes) => decodeSquashfsSuperblock(bytes, 4096), SUPERBLOCK);
    assert.ok(demandFlipsHandled((bytes) => decodeSquashfsSuperblock(bytes, 4096), SUPERBLOCK) > 100);
  });
});

describe('the parts of a squashfs', () => {
  it('say how they are stored', () => {
    assert.deepEqual(decodeMetadataHeader(Buffer.from('0080', 'hex').fill(0x20, 0, 1)), {
      size: 0x20,
      packed: false,
    });
    assert.deepEqual(decodeMetadataHeader(Buffer.from('0020', 'hex')), { size: 8192, packed: true });
    for (const hex of ['0000', '0080', '0120', 'ffff', '20', ''])
      assert.throws(() => decodeMetadataHeader(Buffer.from(hex, 'hex')), malformed(/squashfs/));
    assert.deepEqual(decodeBlockWord(0x100_0010, 4096), { size: 16, packed: false });
    assert.deepEqual(decodeBlockWord(4096, 4096), { size: 4096, packed: true });
    for (const word of [4097, 0x100_1001, 0x200_0001])
      assert.throws(() => decodeBlockWord(word, 4096), malformed(/a block of/));
    const entry = Buffer.from('60000000000000001000000100000000', 'hex');
    assert.deepEqual(decodeFragmentEntry(entry, 4096), { start: 96, size: 16, packed: false });
    demandCutsRefused((bytes) => decodeFragmentEntry(bytes, 4096), entry);
  });

  it('are inodes of every kind, basic and extended', () => {
    const head = (type: string) => `${type}00 a481 0000 0000 00000000 01000000`;
    const inode = (type: string, rest: string) => {
      const bytes = Buffer.from((head(type) + rest).replaceAll(' ', ''), 'hex');
      assert.equal(inodeLength(bytes), bytes.length);
      demandCutsRefused((part) => decodeInode(part, 4096), bytes);
      return decodeInode(bytes, 4096);
    };
    const folder = { kind: 'directory', size: 20, place: { block: 5, offset: 6 } };
    assert.deepEqual(inode('01', '05000000 02000000 1700 0600 01000000'), folder);
    assert.deepEqual(inode('08', '02000000 17000000 05000000 01000000 0000 0600 ffffffff'), folder);
    const file = { kind: 'file', size: 9000, start: 96, blocks: 2, fragment: { index: 7, offset: 8 } };
    assert.deepEqual(inode('02', '60000000 07000000 08000000 28230000'), file);
    const wide = '6000000000000000 2823000000000000 0000000000000000 01000000';
    assert.deepEqual(inode('09', `${wide} 07000000 08000000 ffffffff`), file);
    const whole = { kind: 'file', size: 9000, start: 96, blocks: 3, fragment: undefined };
    assert.deepEqual(inode('02', '60000000 ffffffff 00000000 28230000'), whole);
    assert.deepEqual(inode('03', '01000000 05000000'), { kind: 'symlink', size: 5 });
    assert.deepEqual(inode('0a', '01000000 05000000'), { kind: 'symlink', size: 5 });
    assert.deepEqual(inode('04', ''), { kind: 'other' });
    const bytes = (type: string, rest: string) => Buffer.from((head(type) + rest).replaceAll(' ', ''), 'hex');
    assert.throws(() => inodeLength(bytes('0f', '')), malformed(/type 15/));
    assert.throws(() => inodeLength(bytes('00', '')), malformed(/type 0/));
    const short = bytes('01', '05000000 02000000 0200 0600 01000000');
    assert.throws(() => decodeInode(short, 4096), malformed(/a directory of 2 bytes/));
  });

  it('are listings of names, each with its inode', () => {
    const run = (count: string, ...names: string[]) => `${count}000000 09000000 01000000${names.join('')}`;
    const entry = (name: string) =>
      `1000 0000 0200 ${Buffer.from([name.length - 1, 0]).toString('hex')} ${Buffer.from(name).toString('hex')}`;
    const bytes = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
    const list = bytes(run('01', entry('etc'), entry('usr')) + run('00', entry('x')));
    const inode = { block: 9, offset: 16 };
    assert.deepEqual(
      [...decodeDirectory(list)],
      [
        { name: 'etc', inode },
        { name: 'usr', inode },
        { name: 'x', inode },
      ],
    );
    assert.deepEqual([...decodeDirectory(new Uint8Array(0))], []);
    const one = bytes(run('01', entry('etc'), entry('usr')));
    for (let length = 1; length < one.length; length++)
      assert.throws(() => [...decodeDirectory(one.subarray(0, length))], malformed(/ends early/));
    const many = bytes(run('00', entry('x')));
    many[1] = 1;
    assert.throws(() => [...decodeDirectory(many)], malformed(/257 directory entries/));
    demandFlipsHandled((changedList) => [...decodeDirectory(changedList)], list);
  });
});
