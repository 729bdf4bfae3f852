import { Refusal } from '../../errors/refusal.ts';
import type { Manifest, Verity } from '../../formats/records/manifest.ts';
import { decodeSuperblock, verityUuid } from '../../formats/verity/dm-verity.ts';
import { openVerity, type VerityReader } from '../../formats/verity/verity-reader.ts';
import { BLOCK_SIZE } from '../../formats/verity/verity-tree.ts';
import { decodeOr } from '../../trust/check.ts';
import type { BlockDevice, BlockSource } from './block-source.ts';

/** Blocks that one request asks for at most: 256 KiB. */
const MAX_RUN = 64;
/** Verified blocks that are kept, 8 MiB: a kernel, too, reads a block of its page cache once. */
const KEEP = 2048;

/**
 * A root image whose blocks are fetched when they are read and verified before anybody sees them, as dm-verity
 * does with `panic_on_corruption`: after one that fails, nothing more is read.
 */
export class VerityDevice implements BlockDevice {
  readonly size: number;
  readonly #image: BlockSource;
  readonly #tree: BlockSource;
  readonly #reader: VerityReader;
  /** By index, the least recently used first. */
  readonly #blocks = new Map<number, Uint8Array>();
  #halted: unknown;

  /**
   * Reads the tree's superblock and holds it against the manifest.
   *
   * @throws Refusal `mixed-releases` where the tree is another image's.
   */
  static async open(
    { rootHash, dataBlocks }: Verity,
    { release }: Manifest,
    image: BlockSource,
    tree: BlockSource,
  ): Promise<VerityDevice> {
    const root = Buffer.from(rootHash, 'hex');
    const superblock = await tree.read(0, BLOCK_SIZE);
    const { uuid, dataBlocks: blocks, salt } = decodeOr(tree.path, () => decodeSuperblock(superblock));
    // Nothing signs these fields, and each block is held against the root hash whatever they say. They tell a tree
    // that was mixed up from one that was changed.
    if (uuid !== verityUuid(root) || blocks !== dataBlocks || salt.length > 0) {
      throw new Refusal('mixed-releases', `${tree.path} is not the hash tree that ${release} lists.`, {
        path: tree.path,
      });
    }
    return new VerityDevice(openVerity({ rootHash: root, dataBlocks, superblock }), image, tree);
  }

  private constructor(reader: VerityReader, image: BlockSource, tree: BlockSource) {
    this.#reader = reader;
    this.#image = image;
    this.#tree = tree;
    this.size = reader.dataBlocks * BLOCK_SIZE;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    if (offset < 0 || length < 0 || offset + length > this.size)
      throw new RangeError(`${this.#image.path} has no ${length} bytes at ${offset}`);
    if (this.#halted !== undefined) throw this.#halted;
    const bytes = Buffer.alloc(length);
    const end = Math.ceil((offset + length) / BLOCK_SIZE);
    try {
      for (let index = Math.floor(offset / BLOCK_SIZE); index < end; index++) {
        const block = this.#recall(index) ?? (await this.#fetch(index, end));
        const at = index * BLOCK_SIZE - offset;
        bytes.set(block.subarray(Math.max(0, -at), Math.min(BLOCK_SIZE, length - at)), Math.max(0, at));
      }
    } catch (error) {
      this.#halted = error;
      throw error;
    }
    return bytes;
  }

  /** Block `first`, and in the same request those behind it that are wanted next and are not there. */
  async #fetch(first: number, end: number): Promise<Uint8Array> {
    let last = first + 1;
    while (last < end && last - first < MAX_RUN && !this.#blocks.has(last)) last++;
    const run = await this.#image.read(first * BLOCK_SIZE, (last - first) * BLOCK_SIZE);
    for (let index = first; index < last; index++) {
      const at = (index - first) * BLOCK_SIZE;
      const block = run.subarray(at, at + BLOCK_SIZE);
      await this.#demandVerified(index, block);
      // A copy: a view would keep the whole run alive.
      this.#remember(index, Uint8Array.from(block));
    }
    return run.subarray(0, BLOCK_SIZE);
  }

  async #demandVerified(index: number, block: Uint8Array): Promise<void> {
    const verdict = await this.#reader.verifyBlock(index, block, (at, length) => this.#tree.read(at, length));
    if (verdict.verified) return;
    const { path } = this.#image;
    throw new Refusal(
      'bad-signature',
      `Block ${index} of ${path} does not hold against ${this.#tree.path}: ${verdict.fact}.`,
      { path, tree: this.#tree.path, block: index, fact: verdict.fact },
    );
  }

  #recall(index: number): Uint8Array | undefined {
    const block = this.#blocks.get(index);
    if (block) this.#remember(index, block);
    return block;
  }

  #remember(index: number, block: Uint8Array): void {
    this.#blocks.delete(index);
    this.#blocks.set(index, block);
    const [oldest] = this.#blocks.keys();
    if (this.#blocks.size > KEEP && oldest !== undefined) this.#blocks.delete(oldest);
  }
}
