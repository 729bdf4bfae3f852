import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeSuperblock, encodeRootHash, verityUuid } from '../../src/formats/verity/dm-verity.ts';
import { openVerity } from '../../src/formats/verity/verity-reader.ts';
import { VeritySink, type VerityTrees } from '../../src/formats/verity/verity-sink.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { blockOf, content } from '../formats/verity/verity-content.ts';

const BLOCK = 4096;
const folder = await temporaryFolder();
const DATA = join(folder, 'data');
const OURS = join(folder, 'ours');
const THEIRS = join(folder, 'theirs');

function treesOf(bytes: Uint8Array): VerityTrees {
  const sink = new VeritySink();
  sink.update(bytes);
  return sink.finish();
}

/** The root hash that veritysetup prints for the data; the hash device is then `THEIRS`. */
function format(...options: string[]): string {
  // A file that stands already is written over and never cut.
  rmSync(THEIRS, { force: true });
  const said = execFileSync('veritysetup', ['format', ...options, DATA, THEIRS], { encoding: 'utf8' });
  return /^Root hash:\s+(\S+)$/m.exec(said)?.[1] ?? said;
}

function verify(rootHash: string): { status: number | null; said: string } {
  const { status, stderr } = spawnSync('veritysetup', ['verify', DATA, OURS, rootHash], { encoding: 'utf8' });
  return { status, said: stderr };
}

/** Writes the content and our hash device for it. */
function seal(bytes: Buffer) {
  const { dmVerity } = treesOf(bytes);
  assert.ok(dmVerity);
  const device = Buffer.concat(dmVerity.hashDevice);
  writeFileSync(DATA, bytes);
  writeFileSync(OURS, device);
  return { device, rootHash: Buffer.from(encodeRootHash(dmVerity.rootHash)).toString('latin1') };
}

function flip(path: string, bytes: Buffer, at: number): void {
  const changed = Buffer.from(bytes);
  changed[at] = (changed[at] ?? 0) ^ 1;
  writeFileSync(path, changed);
}

describe('our hash device', () => {
  for (const [blocks, more] of [
    [1, 0],
    [2, 0],
    [127, 0],
    [128, 0],
    [129, 0],
    [16384, 0],
    [16385, 0],
    [1, 4095],
    [129, 1],
  ] as const) {
    it(`is veritysetup's, byte for byte, for ${blocks} blocks and ${more} bytes`, () => {
      const { device, rootHash } = seal(content(blocks * BLOCK + more));
      const uuid = verityUuid(Buffer.from(rootHash, 'hex'));
      assert.equal(format('--salt=-', `--uuid=${uuid}`), rootHash);
      assert.ok(device.equals(readFileSync(THEIRS)));
      assert.deepEqual(verify(rootHash), { status: 0, said: '' });
    });
  }

  const bytes = content(300 * BLOCK + 5);
  const whole = 300 * BLOCK;

  it('lets veritysetup refuse any byte that was changed in the data', () => {
    for (const at of [0, 4095, 4096, 128 * BLOCK, whole - 1]) {
      const { rootHash } = seal(bytes);
      flip(DATA, bytes, at);
      const { status, said } = verify(rootHash);
      assert.equal(status, 2, said);
      assert.match(said, /Verification failed/);
    }
  });

  it('lets veritysetup refuse any byte that was changed in the tree', () => {
    // Of the root's block and of the last one; digests, and the zeros behind them.
    for (const at of [BLOCK, BLOCK + 3 * 32 + 1, 2 * BLOCK, 5 * BLOCK - 1]) {
      const { device, rootHash } = seal(bytes);
      flip(OURS, device, at);
      assert.equal(verify(rootHash).status, 2, `byte ${at}`);
    }
  });

  it('does not cover bytes behind the last whole block: veritysetup takes any', () => {
    const { rootHash } = seal(bytes);
    flip(DATA, bytes, whole);
    assert.equal(verify(rootHash).status, 0);
  });

  it('is refused by veritysetup under another root hash', () => {
    const { rootHash } = seal(bytes);
    assert.equal(verify(rootHash.replace(/^./, (digit) => (digit === '0' ? '1' : '0'))).status, 1);
  });

  for (const size of [0, 1, 4095]) {
    it(`does not exist for ${size} bytes, nor does veritysetup's`, () => {
      writeFileSync(DATA, content(size));
      assert.equal(treesOf(content(size)).dmVerity, undefined);
      assert.notEqual(spawnSync('veritysetup', ['format', '--salt=-', DATA, THEIRS]).status, 0);
    });
  }
});

describe("veritysetup's hash device", () => {
  for (const [what, bytes, salt, known] of [
    ['without salt', content(300 * BLOCK), '-', undefined],
    ['with a salt', content(130 * BLOCK), 'c0ffee', undefined],
    ['with the longest salt', content(3 * BLOCK), 'ab'.repeat(256), undefined],
    ['over one block', content(BLOCK), '01', undefined],
    [
      'with a known root hash',
      Buffer.alloc(2 ** 20, 'A'),
      '00'.repeat(32),
      '9cf0c951cc408b2bd03e71a9364f63b4d1a10d1de0d5c28f34b2cc86dc2c1b27',
    ],
  ] as const) {
    it(`${what} is read: every block is verified, and no other`, async () => {
      writeFileSync(DATA, bytes);
      const rootHash = format(`--salt=${salt}`);
      assert.equal(rootHash, known ?? rootHash);
      const device = readFileSync(THEIRS);
      const superblock = blockOf(device, 0);
      assert.equal(Buffer.from(decodeSuperblock(superblock).salt).toString('hex'), salt.replace('-', ''));
      const dataBlocks = bytes.length / BLOCK;
      const reader = openVerity({ rootHash: Buffer.from(rootHash, 'hex'), dataBlocks, superblock });
      assert.equal(reader.hashDeviceSize, device.length);
      for (let index = 0; index < dataBlocks; index++) {
        const block = Buffer.from(blockOf(bytes, index));
        const read = (offset: number, length: number) => device.subarray(offset, offset + length);
        assert.deepEqual(await reader.verifyBlock(index, block, read), { verified: true });
        block[index] = (block[index] ?? 0) ^ 1;
        assert.equal((await reader.verifyBlock(index, block, read)).verified, false);
      }
    });
  }
});

describe('our fs-verity digest', () => {
  const MIB = 2 ** 20;
  for (const size of [
    ...[0, 1, 4095, 4096, 4097, 8192, 127 * BLOCK, 128 * BLOCK, 128 * BLOCK + 1, 129 * BLOCK - 1],
    ...[MIB - 1, MIB, MIB + 1, 64 * MIB, 64 * MIB + 1],
  ]) {
    it(`of ${size} bytes is what fsverity prints`, () => {
      const bytes = content(size);
      writeFileSync(DATA, bytes);
      const said = execFileSync('fsverity', ['digest', '--compact', DATA], { encoding: 'latin1' });
      assert.equal(Buffer.from(treesOf(bytes).fsVerity.digest).toString('hex'), said.trim());
    });
  }
});
