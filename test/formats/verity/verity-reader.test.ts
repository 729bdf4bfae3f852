import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { encodeSuperblock } from '../../../src/formats/verity/dm-verity.ts';
import { openVerity, type ReadHash, type VerityReader } from '../../../src/formats/verity/verity-reader.ts';
import { VeritySink } from '../../../src/formats/verity/verity-sink.ts';
import { malformed } from '../strict.ts';
import { blockOf, content } from './verity-content.ts';

const BLOCK = 4096;

class Sealed {
  readonly data: Buffer;
  readonly rootHash: Uint8Array;
  readonly dataBlocks: number;
  readonly device: Buffer;
  /** Places of the hash blocks that were read. */
  readonly reads: number[] = [];

  constructor(blocks: number) {
    this.data = content(blocks * BLOCK);
    const sink = new VeritySink();
    sink.update(this.data);
    const { dmVerity } = sink.finish();
    assert.ok(dmVerity);
    this.rootHash = dmVerity.rootHash;
    this.dataBlocks = dmVerity.dataBlocks;
    this.device = Buffer.concat(dmVerity.hashDevice);
  }

  get superblock(): Buffer {
    return blockOf(this.device, 0);
  }

  readonly read: ReadHash = (offset, length) => {
    this.reads.push(offset / BLOCK);
    return this.device.subarray(offset, offset + length);
  };

  open(keep?: number): VerityReader {
    return openVerity(keep === undefined ? this : { ...this, superblock: this.superblock, keep });
  }
}

const YES = { verified: true };
const no = (fact: string) => {
  const [, place] = /^hash block (\d+)/.exec(fact) ?? [];
  return { verified: false, fact, ...(place === undefined ? {} : { hashBlock: Number(place) }) };
};
// Three levels and a last block that is alone in its row; made once, never changed.
const LARGE = new Sealed(16385);

describe('a tree as it was sealed', () => {
  for (const blocks of [1, 2, 127, 128, 129, 300]) {
    it(`verifies each of ${blocks} blocks`, async () => {
      const sealed = new Sealed(blocks);
      const reader = sealed.open();
      assert.equal(reader.hashDeviceSize, sealed.device.length);
      for (let index = 0; index < blocks; index++) {
        assert.deepEqual(await reader.verifyBlock(index, blockOf(sealed.data, index), sealed.read), YES);
      }
    });
  }

  it('of three levels verifies its blocks in any order', async () => {
    const reader = LARGE.open(3);
    const index = fc.oneof(fc.constantFrom(0, 127, 128, 16383, 16384), fc.nat({ max: 16384 }));
    await fc.assert(
      fc.asyncProperty(index, async (at) => {
        assert.deepEqual(await reader.verifyBlock(at, blockOf(LARGE.data, at), LARGE.read), YES);
      }),
    );
  });

  it('may be read by something slow, by many at once', async () => {
    const reader = LARGE.open();
    const slow: ReadHash = async (offset, length) => LARGE.read(offset, length);
    const at = [0, 16384, 1, 128, 9000, 0];
    const verdicts = at.map((index) => reader.verifyBlock(index, blockOf(LARGE.data, index), slow));
    assert.deepEqual(
      await Promise.all(verdicts),
      at.map(() => YES),
    );
  });
});

describe('a data block', () => {
  const sealed = new Sealed(300);
  const reader = sealed.open();
  const verify = (index: number, block: Buffer) => reader.verifyBlock(index, block, sealed.read);

  it('with any byte changed is not verified', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: 299 }),
        fc.nat({ max: 4095 }),
        fc.integer({ min: 1, max: 255 }),
        async (index, at, change) => {
          const block = Buffer.from(blockOf(sealed.data, index));
          block[at] = (block[at] ?? 0) ^ change;
          assert.deepEqual(
            await verify(index, block),
            no(`data block ${index} is not the one that was sealed`),
          );
        },
      ),
    );
  });

  it('in the place of another is not verified', async () => {
    for (const [index, other] of [
      [0, 1],
      [0, 128],
      [299, 298],
    ] as const) {
      assert.equal((await verify(index, blockOf(sealed.data, other))).verified, false);
    }
  });

  it('that is a hash block of the same tree is not verified', async () => {
    for (let place = 0; place < sealed.device.length / BLOCK; place++) {
      assert.equal((await verify(0, blockOf(sealed.device, place))).verified, false);
    }
  });

  for (const [what, index, block, fact] of [
    ['behind the last', 300, blockOf(sealed.data, 0), 'there is no data block 300'],
    // Its place in the tree exists and holds zeros.
    ['before the first', -1, blockOf(sealed.data, 0), 'there is no data block -1'],
    ['between two', 0.5, blockOf(sealed.data, 0), 'there is no data block 0.5'],
    ['cut short', 0, sealed.data.subarray(0, 4095), 'data block 0 has 4095 bytes'],
    ['with a byte more', 0, sealed.data.subarray(0, 4097), 'data block 0 has 4097 bytes'],
    ['that is empty', 0, Buffer.alloc(0), 'data block 0 has 0 bytes'],
  ] as const) {
    it(`${what} is not verified`, async () => {
      assert.deepEqual(await verify(index, block), no(fact));
    });
  }
});

describe('the hash device', () => {
  it('with any byte of a path changed verifies none of the blocks under it', async () => {
    // superblock, root, 3 blocks of leaves; data block 200 hangs under the second of these
    const path = [1, 3];
    for (const place of [1, 2, 3, 4]) {
      const sealed = new Sealed(300);
      for (const at of [0, 31, 32, 2333, 4095]) {
        const offset = place * BLOCK + at;
        sealed.device[offset] = (sealed.device[offset] ?? 0) ^ 4;
        assert.deepEqual(
          await sealed.open().verifyBlock(200, blockOf(sealed.data, 200), sealed.read),
          path.includes(place) ? no(`hash block ${place} is not the one that was sealed`) : YES,
        );
        sealed.device[offset] = (sealed.device[offset] ?? 0) ^ 4;
      }
    }
  });

  it('cut at any block verifies nothing whose path is gone', async () => {
    for (const length of [0, 1, BLOCK, 2 * BLOCK - 1, 2 * BLOCK, 3 * BLOCK + 5]) {
      const cut: ReadHash = (offset, size) =>
        LARGE.device.subarray(0, length).subarray(offset, offset + size);
      const verdict = await LARGE.open().verifyBlock(0, blockOf(LARGE.data, 0), cut);
      assert.match(verdict.verified ? 'verified' : verdict.fact, /^hash block \d has \d+ bytes$/);
    }
  });

  it('that gives more than it was asked for verifies nothing', async () => {
    const more: ReadHash = (offset) => LARGE.device.subarray(offset);
    assert.equal((await LARGE.open().verifyBlock(0, blockOf(LARGE.data, 0), more)).verified, false);
  });

  it('that cannot be read is an error, not a verdict, and may be tried again', async () => {
    const reader = LARGE.open();
    const block = blockOf(LARGE.data, 5);
    const gone: ReadHash = () => Promise.reject(new Error('gone'));
    await assert.rejects(async () => reader.verifyBlock(5, block, gone), /gone/);
    assert.deepEqual(await reader.verifyBlock(5, block, LARGE.read), YES);
  });

  it('with bytes behind the last digest is refused, though its root hash says so', async () => {
    const sealed = new Sealed(2);
    const odd = Buffer.from(blockOf(sealed.device, 1));
    odd[64] = 1;
    const sink = new VeritySink();
    sink.update(odd);
    const rootHash = sink.finish().dmVerity?.rootHash;
    assert.ok(rootHash);
    const reader = openVerity({ rootHash, dataBlocks: 2, superblock: sealed.superblock });
    assert.deepEqual(
      await reader.verifyBlock(0, blockOf(sealed.data, 0), () => odd),
      no('hash block 1 has more than its digests'),
    );
  });
});

describe('verified hash blocks', () => {
  it('are read once, and below the first that is known', async () => {
    const reader = LARGE.open();
    const from = LARGE.reads.length;
    for (let index = 0; index < 300; index++)
      await reader.verifyBlock(index, blockOf(LARGE.data, index), LARGE.read);
    await reader.verifyBlock(16384, blockOf(LARGE.data, 16384), LARGE.read);
    // superblock 0; levels at 1, at 2 and 3, and from 4
    assert.deepEqual(LARGE.reads.slice(from), [1, 2, 4, 5, 6, 3, 4 + 128]);
  });

  it('are as many as asked for, the one used least recently going first', async () => {
    const sealed = new Sealed(384);
    const reader = sealed.open(3);
    for (const index of [0, 128, 0, 256, 0, 128]) {
      assert.deepEqual(await reader.verifyBlock(index, blockOf(sealed.data, index), sealed.read), YES);
    }
    // The root (1) and the leaves of 0 (2) are used again and again; those of 128 (3) made way for those of 256 (4).
    assert.deepEqual(sealed.reads, [1, 2, 3, 4, 3]);
  });

  it('are never those that were not verified', async () => {
    const sealed = new Sealed(129);
    const reader = sealed.open();
    const block = blockOf(sealed.data, 0);
    const liar: ReadHash = () => Buffer.alloc(BLOCK);
    assert.deepEqual(
      await reader.verifyBlock(0, block, liar),
      no('hash block 1 is not the one that was sealed'),
    );
    assert.deepEqual(await reader.verifyBlock(0, block, sealed.read), YES);
  });

  it('are copies: whoever read them may use the memory again', async () => {
    const sealed = new Sealed(2);
    const reader = sealed.open();
    const memory = Buffer.alloc(BLOCK);
    const reuse: ReadHash = (offset) => {
      blockOf(sealed.device, offset / BLOCK).copy(memory);
      return memory;
    };
    assert.deepEqual(await reader.verifyBlock(0, blockOf(sealed.data, 0), reuse), YES);
    memory.fill(0);
    assert.deepEqual(await reader.verifyBlock(1, blockOf(sealed.data, 1), reuse), YES);
  });
});

describe('a tree is not opened', () => {
  const sealed = new Sealed(300);
  const anchor = { rootHash: sealed.rootHash, dataBlocks: 300, superblock: sealed.superblock };
  const other = (dataBlocks: number) =>
    encodeSuperblock({ uuid: '00000000-0000-8000-8000-000000000000', dataBlocks, salt: new Uint8Array(0) });

  it('whose superblock cuts the image short, or makes it longer', () => {
    for (const dataBlocks of [1, 128, 299, 301, 16385]) {
      assert.throws(
        () => openVerity({ ...anchor, superblock: other(dataBlocks) }),
        malformed(new RegExp(`${dataBlocks} data blocks, not 300`)),
      );
    }
  });

  it('whose superblock is none', () => {
    assert.throws(() => openVerity({ ...anchor, superblock: Buffer.alloc(BLOCK) }), malformed(/superblock/));
    assert.throws(
      () => openVerity({ ...anchor, superblock: anchor.superblock.subarray(0, 512) }),
      malformed(/512 bytes/),
    );
  });

  it('whose root hash has another length', () => {
    assert.throws(
      () => openVerity({ ...anchor, rootHash: anchor.rootHash.subarray(1) }),
      malformed(/31 bytes/),
    );
  });
});
