import { createHash, hash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { decodeSuperblock } from './dm-verity.ts';
import { BLOCK_SIZE, DIGEST_SIZE, DIGESTS_PER_BLOCK, levelLengths } from './verity-tree.ts';

/** Whether a block is the one that was sealed, and if not, what is odd. Nothing else may be read as a yes. */
export type BlockVerdict = { readonly verified: true } | OddBlock;

export interface OddBlock {
  readonly verified: false;
  readonly fact: string;
  /** The block of the hash device that is odd; undefined: it is the data block that was asked about. */
  readonly hashBlock?: number;
}

/** Reads `length` bytes of the hash device from `offset`. What it gives is not trusted; it may reject. */
export type ReadHash = (offset: number, length: number) => Uint8Array | Promise<Uint8Array>;

export interface VerityAnchor {
  /** 32 bytes, from what was signed. */
  readonly rootHash: Uint8Array;
  /**
   * From what was signed, never from the superblock: the root hash does not bind the number of blocks, so a
   * superblock that names fewer would cut the image short, and one that names many more makes another tree.
   */
  readonly dataBlocks: number;
  /** The hash device's first block, 4096 bytes. */
  readonly superblock: Uint8Array;
  /** Verified hash blocks that are kept. The default, 2048 (8 MiB), spans an image of 1 GiB. */
  readonly keep?: number;
}

/** A dm-verity tree whose blocks are verified one by one, as the kernel does. */
export interface VerityReader {
  readonly dataBlocks: number;
  /** Bytes the hash device must have. */
  readonly hashDeviceSize: number;
  /**
   * Verifies one data block (4096 bytes) and those hash blocks between it and the root that were not verified
   * before: at once where there are none. Rejects only with what `readHash` rejects with.
   */
  verifyBlock(index: number, block: Uint8Array, readHash: ReadHash): BlockVerdict | Promise<BlockVerdict>;
  /** The same by the SHA-256 of the block: for whoever has hashed it, and a tree without a salt. */
  verifyDigest(index: number, digest: Uint8Array, readHash: ReadHash): BlockVerdict | Promise<BlockVerdict>;
}

/** @throws Malformed where the superblock is no such thing, or of another tree than the one that was signed. */
export function openVerity({ rootHash, dataBlocks, superblock, keep = 2048 }: VerityAnchor): VerityReader {
  if (rootHash.length !== DIGEST_SIZE) throw new Malformed('root hash', `${rootHash.length} bytes`);
  const decoded = decodeSuperblock(superblock);
  if (decoded.dataBlocks !== dataBlocks) {
    throw new Malformed('dm-verity superblock', `${decoded.dataBlocks} data blocks, not ${dataBlocks}`, 72);
  }
  return new Reader(rootHash, dataBlocks, decoded.salt, keep);
}

class Reader implements VerityReader {
  readonly dataBlocks: number;
  readonly hashDeviceSize: number;
  readonly #rootHash: Buffer;
  readonly #salt: Uint8Array;
  /** Of each level, the lowest first: its first block on the hash device, and how many digests it holds. */
  readonly #levels: readonly { readonly start: number; readonly digests: number }[];
  readonly #keep: number;
  /** Verified hash blocks by their place on the hash device, the least recently used first. */
  readonly #verified = new Map<number, Buffer>();

  constructor(rootHash: Uint8Array, dataBlocks: number, salt: Uint8Array, keep: number) {
    this.dataBlocks = dataBlocks;
    this.#rootHash = Buffer.from(rootHash);
    this.#salt = salt;
    this.#keep = keep;
    const lengths = levelLengths(dataBlocks);
    let end = 1 + lengths.reduce((sum, length) => sum + length, 0);
    this.hashDeviceSize = end * BLOCK_SIZE;
    this.#levels = lengths.map((length, level) => {
      end -= length;
      return { start: end, digests: level === 0 ? dataBlocks : (lengths[level - 1] ?? 0) };
    });
  }

  verifyBlock(index: number, block: Uint8Array, readHash: ReadHash): BlockVerdict | Promise<BlockVerdict> {
    if (block.length !== BLOCK_SIZE) return odd(`data block ${index} has ${block.length} bytes`);
    return this.#verify(index, this.#hash(block), readHash);
  }

  verifyDigest(index: number, digest: Uint8Array, readHash: ReadHash): BlockVerdict | Promise<BlockVerdict> {
    if (this.#salt.length > 0) return odd('the tree has a salt', 0);
    return this.#verify(index, Buffer.from(digest), readHash);
  }

  #verify(index: number, digest: Buffer, readHash: ReadHash): BlockVerdict | Promise<BlockVerdict> {
    if (!Number.isInteger(index) || index < 0 || index >= this.dataBlocks) {
      return odd(`there is no data block ${index}`);
    }
    const judge = (wanted: Buffer | OddBlock): BlockVerdict => {
      if (!(wanted instanceof Uint8Array)) return wanted;
      if (!digest.equals(wanted)) return odd(`data block ${index} is not the one that was sealed`);
      return VERIFIED;
    };
    // 127 of 128 blocks find their hash block in memory, and none of those has to wait its turn.
    const [row] = this.#levels;
    const near = row && this.#recall(row.start + Math.floor(index / DIGESTS_PER_BLOCK));
    return near ? judge(digestIn(near, index)) : this.#digestOf(0, index, readHash).then(judge);
  }

  /** The digest that block `index` below `level` must have; below the lowest are the data blocks. */
  async #digestOf(level: number, index: number, readHash: ReadHash): Promise<Buffer | OddBlock> {
    const row = this.#levels[level];
    if (!row) return this.#rootHash;
    const inRow = Math.floor(index / DIGESTS_PER_BLOCK);
    const place = row.start + inRow;
    const block = this.#recall(place) ?? (await this.#read(level, inRow, place, row.digests, readHash));
    if (!(block instanceof Uint8Array)) return block;
    return digestIn(block, index);
  }

  async #read(
    level: number,
    inRow: number,
    place: number,
    digests: number,
    readHash: ReadHash,
  ): Promise<Buffer | OddBlock> {
    const wanted = await this.#digestOf(level + 1, inRow, readHash);
    if (!(wanted instanceof Uint8Array)) return wanted;
    const read = await readHash(place * BLOCK_SIZE, BLOCK_SIZE);
    if (read.length !== BLOCK_SIZE) return odd(`hash block ${place} has ${read.length} bytes`, place);
    // A copy, taken before it is hashed: whoever read it may use its memory again.
    const block = Buffer.from(read);
    if (!this.#hash(block).equals(wanted))
      return odd(`hash block ${place} is not the one that was sealed`, place);
    const used = Math.min(digests - inRow * DIGESTS_PER_BLOCK, DIGESTS_PER_BLOCK) * DIGEST_SIZE;
    // Sealed like that, yet no tool makes it, and `veritysetup verify` refuses it.
    if (block.subarray(used).some((octet) => octet !== 0)) {
      return odd(`hash block ${place} has more than its digests`, place);
    }
    this.#remember(place, block);
    return block;
  }

  #hash(block: Uint8Array): Buffer {
    if (this.#salt.length === 0) return hash('sha256', block, 'buffer');
    return createHash('sha256').update(this.#salt).update(block).digest();
  }

  #recall(place: number): Buffer | undefined {
    const block = this.#verified.get(place);
    if (block) this.#remember(place, block);
    return block;
  }

  #remember(place: number, block: Buffer): void {
    this.#verified.delete(place);
    this.#verified.set(place, block);
    const [oldest] = this.#verified.keys();
    if (this.#verified.size > this.#keep && oldest !== undefined) this.#verified.delete(oldest);
  }
}

const VERIFIED: BlockVerdict = { verified: true };

/** The digest of block `index` in the hash block that holds it. */
function digestIn(hashBlock: Buffer, index: number): Buffer {
  const at = (index % DIGESTS_PER_BLOCK) * DIGEST_SIZE;
  return hashBlock.subarray(at, at + DIGEST_SIZE);
}

function odd(fact: string, hashBlock?: number): OddBlock {
  return { verified: false, fact, ...(hashBlock === undefined ? {} : { hashBlock }) };
}
