import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BlockSource } from '../../../src/emulator/early/block-source.ts';
import { VerityDevice } from '../../../src/emulator/early/verity-device.ts';
import { Refusal } from '../../../src/errors/refusal.ts';
import type { Manifest } from '../../../src/formats/records/manifest.ts';
import { VeritySink } from '../../../src/formats/verity/verity-sink.ts';
import { noise } from '../../fixtures/squashfs.ts';

const BLOCKS = 300;
const data = noise(BLOCKS * 4096, 'device');
const sink = new VeritySink();
sink.update(data);
const { dmVerity } = sink.finish();
assert.ok(dmVerity);
const hashes = Buffer.concat(dmVerity.hashDevice);
const line = {
  rootHash: Buffer.from(dmVerity.rootHash).toString('hex'),
  salt: '-',
  dataBlocks: BLOCKS,
  path: 'root.img',
} as const;
const manifest = { release: 'arch/2026.11.01' } as Manifest;

interface Memory extends BlockSource {
  readonly bytes: Buffer;
  /** First byte and length of each read. */
  readonly reads: [number, number][];
}

function memory(path: string, content: Uint8Array): Memory {
  const bytes = Buffer.from(content);
  const reads: [number, number][] = [];
  const read = async (offset: number, length: number) => {
    reads.push([offset, length]);
    return bytes.subarray(offset, offset + length);
  };
  return { path, size: bytes.length, fetched: 0, requests: 0, bytes, reads, read };
}

async function opened(): Promise<{ device: VerityDevice; image: Memory; tree: Memory }> {
  const image = memory('root.img', data);
  const tree = memory('root.img.verity', hashes);
  return { device: await VerityDevice.open(line, manifest, image, tree), image, tree };
}

describe('a device under dm-verity', () => {
  it('gives any bytes, across blocks and requests', async () => {
    const { device } = await opened();
    for (const [at, length] of [
      [0, 1],
      [4095, 2],
      [0, 0],
      [12_345, 100_000],
      [data.length - 1, 1],
      [0, data.length],
    ] as const)
      assert.deepEqual(
        Buffer.from(await device.read(at, length)),
        Buffer.from(data.subarray(at, at + length)),
        `${length} bytes at ${at}`,
      );
    for (const [at, length] of [
      [data.length, 1],
      [-1, 1],
      [0, data.length + 1],
    ] as const)
      await assert.rejects(device.read(at, length), RangeError);
  });

  it('joins neighbours up to 256 KiB, and reads no block twice', async () => {
    const { device, image } = await opened();
    await device.read(10 * 4096, 4096);
    await device.read(0, 70 * 4096);
    await device.read(0, 70 * 4096);
    await device.read(100 * 4096, 70 * 4096);
    assert.deepEqual(
      image.reads.map(([at, length]) => [at / 4096, length / 4096]),
      [
        [10, 1],
        [0, 10],
        [11, 59],
        [100, 64],
        [164, 6],
      ],
    );
  });

  it('reads those hash blocks alone that lie above what is read', async () => {
    const { device, tree } = await opened();
    await device.read(0, 4096);
    await device.read(127 * 4096, 4096);
    assert.deepEqual(
      tree.reads.map(([at]) => at / 4096),
      [0, 1, 2],
    );
    await device.read(128 * 4096, 4096);
    assert.deepEqual(tree.reads.at(-1), [3 * 4096, 4096]);
  });

  it('gives nothing of a run with one wrong block, and nothing more after it', async () => {
    const { device, image } = await opened();
    await device.read(0, 4096);
    image.bytes.writeUInt8(image.bytes.readUInt8(7 * 4096) ^ 1, 7 * 4096);
    const wrong = (error: unknown) =>
      error instanceof Refusal && error.code === 'bad-signature' && error.facts.block === 7;
    await assert.rejects(device.read(5 * 4096, 5 * 4096), wrong);
    const asked = image.reads.length;
    await assert.rejects(device.read(0, 4096), wrong);
    await assert.rejects(device.read(200 * 4096, 4096), wrong);
    assert.equal(image.reads.length, asked);
  });

  it('keeps what it verified, whatever becomes of the memory it came in', async () => {
    const { device, image } = await opened();
    await device.read(0, 3 * 4096);
    image.bytes.fill(0);
    assert.deepEqual(Buffer.from(await device.read(0, 3 * 4096)), Buffer.from(data.subarray(0, 3 * 4096)));
  });

  it('opens no tree of fewer or more blocks, of a salt or of another root', async () => {
    const open = (change: (tree: Buffer) => void) => {
      const tree = memory('root.img.verity', hashes);
      change(tree.bytes);
      return VerityDevice.open(line, manifest, memory('root.img', data), tree);
    };
    const refused = (code: string) => (error: unknown) => error instanceof Refusal && error.code === code;
    await assert.rejects(
      open((tree) => tree.writeUInt8(BLOCKS - 257, 72)),
      refused('mixed-releases'),
    );
    await assert.rejects(
      open((tree) => tree.writeUInt8(1, 80)),
      refused('mixed-releases'),
    );
    await assert.rejects(
      open((tree) => tree.writeUInt8(tree.readUInt8(20) ^ 1, 20)),
      refused('mixed-releases'),
    );
    await assert.rejects(
      open((tree) => tree.writeUInt8(1, 300)),
      refused('malformed'),
    );
  });
});
