import { encodeSuperblock, verityUuid } from './dm-verity.ts';
import { fsVerityDigest } from './fs-verity.ts';
import { BLOCK_SIZE, DIGEST_SIZE, DigestList, type HashTree, hashTree } from './verity-tree.ts';

/** The dm-verity seal of content: what `veritysetup format --salt=-` would write. */
export interface DmVerity {
  /** 32 bytes. */
  readonly rootHash: Uint8Array;
  /** Whole blocks of 4096 bytes. Bytes behind the last whole block are outside the tree. */
  readonly dataBlocks: number;
  /** Content of the hash device in pieces: a block with the superblock, then the levels, the root's first. */
  readonly hashDevice: readonly Uint8Array[];
}

export interface FsVerity {
  /** Of the Merkle tree, 32 bytes; zeros for empty content. */
  readonly root: Uint8Array;
  /** The file digest: what `fsverity digest` prints. 32 bytes. */
  readonly digest: Uint8Array;
}

/** What content that was read once is to the kernel. Survives structured cloning. */
export interface VerityTrees {
  /** Bytes. */
  readonly size: number;
  /**
   * Absent where the content has no whole block: a device cannot have zero blocks, veritysetup refuses one,
   * and there would be nothing to read.
   */
  readonly dmVerity?: DmVerity;
  readonly fsVerity: FsVerity;
}

/**
 * Makes both trees of content that arrives in pieces of any size. Synchronous.
 *
 * Holds one block and the digests: 32 bytes per 4096, so 7 MB for 900 MB of content.
 *
 * The trees are one where the size is a multiple of 4096. Elsewhere they differ in the last block: dm-verity
 * leaves it out, fs-verity fills it up with zeros.
 */
export class VeritySink {
  readonly #leaves = new DigestList();
  /** Content behind the last whole block. */
  readonly #partial = Buffer.alloc(BLOCK_SIZE);
  #held = 0;
  #size = 0;
  #ended = false;

  update(data: Uint8Array): void {
    if (this.#ended) throw new TypeError('the tree was finished');
    this.#size += data.length;
    let at = 0;
    if (this.#held > 0) {
      at = Math.min(BLOCK_SIZE - this.#held, data.length);
      this.#partial.set(data.subarray(0, at), this.#held);
      this.#held += at;
      if (this.#held < BLOCK_SIZE) return;
      this.#leaves.add(this.#partial);
    }
    for (; data.length - at >= BLOCK_SIZE; at += BLOCK_SIZE) {
      this.#leaves.add(data.subarray(at, at + BLOCK_SIZE));
    }
    this.#partial.set(data.subarray(at));
    this.#held = data.length - at;
  }

  /** Both trees. To be called once, after the last piece. */
  finish(): VerityTrees {
    if (this.#ended) throw new TypeError('the tree was finished');
    this.#ended = true;
    const size = this.#size;
    const leaves = this.#leaves;
    let padded: Uint8Array | undefined;
    if (this.#held > 0) {
      leaves.add(this.#partial.fill(0, this.#held));
      padded = hashTree(leaves).root;
      leaves.removeLast();
    }
    const whole = leaves.length > 0 ? hashTree(leaves) : undefined;
    const root = padded ?? whole?.root ?? new Uint8Array(DIGEST_SIZE);
    const fsVerity = { root, digest: fsVerityDigest(size, root) };
    return whole ? { size, dmVerity: dmVerityOf(whole, leaves.length), fsVerity } : { size, fsVerity };
  }
}

function dmVerityOf({ root, levels }: HashTree, dataBlocks: number): DmVerity {
  const superblock = encodeSuperblock({ uuid: verityUuid(root), dataBlocks, salt: new Uint8Array(0) });
  const rootFirst = [...levels].reverse();
  return {
    rootHash: root,
    dataBlocks,
    hashDevice: [superblock, ...rootFirst.flatMap((level) => [...level.pieces()])],
  };
}
