import { hash } from 'node:crypto';

/**
 * The tree that dm-verity (format 1, no salt) and fs-verity share: SHA-256 over blocks of 4096 bytes, the
 * digests set side by side into blocks of the same size, zeros behind the last, until one digest is left
 * (Linux, Documentation/admin-guide/device-mapper/verity.rst, Documentation/filesystems/fsverity.rst).
 */

/** Bytes of a data block, and of a hash block. */
export const BLOCK_SIZE = 4096;
/** Bytes of a SHA-256 digest. */
export const DIGEST_SIZE = 32;
export const DIGESTS_PER_BLOCK = BLOCK_SIZE / DIGEST_SIZE;

/** 64 KiB, a whole number of hash blocks: small content stays small, and large content has few chunks. */
const CHUNK_SIZE = 16 * BLOCK_SIZE;
const DIGESTS_PER_CHUNK = CHUNK_SIZE / DIGEST_SIZE;

/** The digests of one row of blocks, held as the hash blocks of the level above that row. */
export class DigestList {
  readonly #chunks: Buffer[] = [];
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Hashes one block and appends its digest. */
  add(block: Uint8Array): void {
    const at = this.#length % DIGESTS_PER_CHUNK;
    const chunk = at === 0 ? this.#grow() : (this.#chunks.at(-1) as Buffer);
    // The quickest way that node:crypto has: a Hash or a Buffer for each block costs half as much again.
    chunk.write(hash('sha256', block, 'binary'), at * DIGEST_SIZE, DIGEST_SIZE, 'latin1');
    this.#length++;
  }

  /** Takes the last digest away. */
  removeLast(): void {
    if (this.#length === 0) return;
    this.#length--;
    const at = (this.#length % DIGESTS_PER_CHUNK) * DIGEST_SIZE;
    if (at === 0) this.#chunks.pop();
    else this.#chunks.at(-1)?.fill(0, at, at + DIGEST_SIZE);
  }

  /** A copy of the first digest. */
  first(): Uint8Array {
    return Uint8Array.from(this.#chunks[0]?.subarray(0, DIGEST_SIZE) ?? []);
  }

  /** Whole hash blocks, up to 16 in a piece, each piece in memory of its own. */
  *pieces(): Generator<Uint8Array> {
    let left = Math.ceil(this.#length / DIGESTS_PER_BLOCK) * BLOCK_SIZE;
    for (const chunk of this.#chunks) {
      yield chunk.subarray(0, Math.min(left, CHUNK_SIZE));
      left -= CHUNK_SIZE;
    }
  }

  #grow(): Buffer {
    const chunk = Buffer.alloc(CHUNK_SIZE);
    this.#chunks.push(chunk);
    return chunk;
  }
}

export interface HashTree {
  readonly root: Uint8Array;
  /** Rows of hash blocks, the one nearest to the data first. None over one block: its digest is the root. */
  readonly levels: readonly DigestList[];
}

/** @param leaves digests of the data blocks, at least one; becomes the tree's first level. */
export function hashTree(leaves: DigestList): HashTree {
  const levels: DigestList[] = [];
  let level = leaves;
  while (level.length > 1) {
    levels.push(level);
    const above = new DigestList();
    for (const piece of level.pieces()) {
      for (let at = 0; at < piece.length; at += BLOCK_SIZE) above.add(piece.subarray(at, at + BLOCK_SIZE));
    }
    level = above;
  }
  return { root: level.first(), levels };
}

/** Hash blocks of each level over this many data blocks, the level nearest to the data first. */
export function levelLengths(dataBlocks: number): number[] {
  const lengths: number[] = [];
  for (let below = dataBlocks; below > 1; ) {
    below = Math.ceil(below / DIGESTS_PER_BLOCK);
    lengths.push(below);
  }
  return lengths;
}
