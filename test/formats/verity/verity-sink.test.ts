import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeSuperblock, hashDeviceSize, verityUuid } from '../../../src/formats/verity/dm-verity.ts';
import { encodeFsVerityDescriptor, fsVerityDigest } from '../../../src/formats/verity/fs-verity.ts';
import { VeritySink, type VerityTrees } from '../../../src/formats/verity/verity-sink.ts';
import { levelLengths } from '../../../src/formats/verity/verity-tree.ts';
import { malformed } from '../strict.ts';
import { blockOf, content, plainRoot } from './verity-content.ts';

const BLOCK = 4096;
const hex = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString('hex');

function treesOf(...pieces: Uint8Array[]): VerityTrees {
  const sink = new VeritySink();
  for (const piece of pieces) sink.update(piece);
  return sink.finish();
}

/** Everything a sink says, as two sinks can be compared by. */
function said({ size, dmVerity, fsVerity }: VerityTrees) {
  return {
    size,
    dataBlocks: dmVerity?.dataBlocks,
    rootHash: hex(dmVerity?.rootHash),
    hashDevice: hex(Buffer.concat(dmVerity?.hashDevice ?? [])),
    root: hex(fsVerity.root),
    digest: hex(fsVerity.digest),
  };
}

// Around one, 128 and 128² blocks, where the tree gets another level, and around 2048, a chunk of digests.
const BLOCKS = [1, 2, 127, 128, 129, 256, 2047, 2048, 2049, 16383, 16384, 16385];

describe('whole blocks', () => {
  for (const blocks of BLOCKS) {
    it(`${blocks} of them have one root for dm-verity and fs-verity`, () => {
      const bytes = content(blocks * BLOCK);
      const { size, dmVerity, fsVerity } = treesOf(bytes);
      assert.equal(size, bytes.length);
      assert.equal(dmVerity?.dataBlocks, blocks);
      assert.equal(hex(dmVerity?.rootHash), hex(plainRoot(bytes)));
      assert.equal(hex(fsVerity.root), hex(plainRoot(bytes)));
    });
  }
});

describe('a partial last block', () => {
  for (const blocks of BLOCKS) {
    for (const more of [1, 4095]) {
      it(`of ${more} bytes behind ${blocks} whole ones counts for fs-verity alone`, () => {
        const bytes = content(blocks * BLOCK + more);
        const whole = treesOf(bytes.subarray(0, blocks * BLOCK));
        const { size, dmVerity, fsVerity } = treesOf(bytes);
        assert.equal(size, bytes.length);
        assert.equal(hex(fsVerity.root), hex(plainRoot(bytes)));
        assert.notEqual(hex(fsVerity.root), hex(whole.fsVerity.root));
        assert.ok(dmVerity);
        assert.deepEqual(said({ ...whole, dmVerity }), said(whole));
        assert.ok(dmVerity.hashDevice.every(({ length }) => length > 0));
      });
    }
  }
});

describe('the hash device', () => {
  it('of one block is a superblock and no tree: the root hash is the digest of the block', () => {
    const bytes = content(BLOCK);
    const { dmVerity } = treesOf(bytes);
    assert.equal(hex(dmVerity?.rootHash), createHash('sha256').update(bytes).digest('hex'));
    assert.equal(Buffer.concat(dmVerity?.hashDevice ?? []).length, BLOCK);
  });

  it('has the length that its number of blocks makes', () => {
    for (const blocks of BLOCKS) {
      const pieces = treesOf(content(blocks * BLOCK)).dmVerity?.hashDevice ?? [];
      assert.equal(Buffer.concat(pieces).length, hashDeviceSize(blocks));
    }
  });

  it('begins with a superblock that holds the derived UUID, the number of blocks and no salt', () => {
    const { dmVerity } = treesOf(content(129 * BLOCK));
    assert.ok(dmVerity);
    assert.deepEqual(decodeSuperblock(blockOf(Buffer.concat(dmVerity.hashDevice), 0)), {
      uuid: verityUuid(dmVerity.rootHash),
      dataBlocks: 129,
      salt: new Uint8Array(0),
    });
  });

  it('has the level of the root first, and zeros behind the digests of each level', () => {
    const bytes = content(129 * BLOCK);
    const { dmVerity } = treesOf(bytes);
    const device = Buffer.concat(dmVerity?.hashDevice ?? []);
    assert.deepEqual([levelLengths(129), device.length], [[2, 1], 4 * BLOCK]);
    assert.equal(createHash('sha256').update(blockOf(device, 1)).digest('hex'), hex(dmVerity?.rootHash));
    const digest = (block: Buffer) => createHash('sha256').update(block).digest();
    const row = (...digests: Buffer[]) => Buffer.concat([...digests, Buffer.alloc(BLOCK)]).subarray(0, BLOCK);
    assert.deepEqual(blockOf(device, 1), row(digest(blockOf(device, 2)), digest(blockOf(device, 3))));
    const leaves = Array.from({ length: 129 }, (_, index) => digest(blockOf(bytes, index)));
    assert.deepEqual(blockOf(device, 2), row(...leaves.slice(0, 128)));
    assert.deepEqual(blockOf(device, 3), row(...leaves.slice(128)));
  });

  for (const size of [0, 1, 4095]) {
    it(`of ${size} bytes is none: a device has at least one block`, () => {
      const trees = treesOf(content(size));
      assert.ok(!('dmVerity' in trees));
      assert.equal(hex(trees.fsVerity.root), hex(plainRoot(content(size))));
    });
  }
});

describe('pieces', () => {
  it('of any sizes make the same trees as the whole', () => {
    const bytes = content(300 * BLOCK + 77);
    const size = fc.oneof(
      fc.constantFrom(0, 1, 4095, 4096, 4097, 8192),
      fc.nat({ max: 3 * BLOCK }),
      fc.nat({ max: 200 * BLOCK }),
    );
    fc.assert(
      fc.property(fc.nat({ max: bytes.length }), fc.array(size, { maxLength: 40 }), (total, sizes) => {
        const whole = bytes.subarray(0, total);
        const sink = new VeritySink();
        let at = 0;
        for (const length of sizes) {
          // Each in memory that is overwritten afterwards, as a lane's slots are.
          const piece = Buffer.from(whole.subarray(at, at + length));
          sink.update(piece);
          piece.fill(0xee);
          at += length;
        }
        sink.update(whole.subarray(Math.min(at, total)));
        assert.deepEqual(said(sink.finish()), said(treesOf(whole)));
      }),
    );
  });

  it('after the end are refused, and there is one end', () => {
    const sink = new VeritySink();
    sink.update(content(BLOCK));
    sink.finish();
    assert.throws(() => sink.update(content(1)), TypeError);
    assert.throws(() => sink.finish(), TypeError);
  });

  it('come out of structured cloning as they went in, and bring no memory of others along', () => {
    const trees = treesOf(content(2100 * BLOCK + 5));
    const clone = structuredClone(trees);
    assert.deepEqual(said(clone), said(trees));
    const held = [
      clone.fsVerity.root,
      clone.fsVerity.digest,
      clone.dmVerity?.rootHash,
      ...(clone.dmVerity?.hashDevice ?? []),
    ];
    const memory = held.reduce((sum, bytes) => sum + (bytes?.buffer.byteLength ?? 0), 0);
    assert.ok(memory < 256 * 1024, `${memory} bytes`);
  });
});

describe('fs-verity', () => {
  for (const [text, digest] of [
    ['', '3d248ca542a24fc62d1c43b916eae5016878e2533c88238480b26128a1f1af95'],
    ['hello world', '1e2eaa4202d750a41174ee454970b92c1bc2f925b1e35076d8c7d5f56362ba64'],
  ] as const) {
    it(`of ${JSON.stringify(text)} has a known digest`, () => {
      assert.equal(hex(treesOf(Buffer.from(text)).fsVerity.digest), digest);
    });
  }

  it('has a descriptor of 256 bytes that binds the size', () => {
    const root = Buffer.alloc(32, 0xab);
    const descriptor = Buffer.from(encodeFsVerityDescriptor(0x1_2345_6789, root));
    assert.equal(descriptor.length, 256);
    assert.equal(
      hex(descriptor.subarray(0, 48)),
      `01010c00${'00'.repeat(4)}8967452301000000${'ab'.repeat(32)}`,
    );
    assert.ok(descriptor.subarray(48).every((octet) => octet === 0));
    assert.equal(
      hex(fsVerityDigest(0x1_2345_6789, root)),
      createHash('sha256').update(descriptor).digest('hex'),
    );
  });

  it('has no descriptor for a root of another length', () => {
    assert.throws(() => fsVerityDigest(1, new Uint8Array(64)), malformed(/64 bytes/));
  });
});
