import { Refusal } from '../../errors/refusal.ts';

/** Bytes: dm-verity's and fs-verity's, and a page. */
export const VERIFIED_BLOCK = 4096;

/**
 * Whether a block is the one that was sealed. `block` is valid during the call (and its promise) only; the last
 * one of a file is short where the file's size is no multiple. It may throw, or reject with, a `Refusal` of its
 * own. Two reads may ask for the same block at the same time.
 */
export type BlockVerifier = (index: number, block: Buffer) => boolean | Promise<boolean>;

/** Fills a buffer from a position of the file. */
type ReadFile = (into: Buffer, position: number) => Promise<void> | undefined;

/**
 * Which blocks of a file were verified. Every block is looked at once, when it is first read; after that the
 * file's identity stands for it. A bit for each: 32 KiB for a gibibyte.
 */
export class VerifiedBlocks {
  readonly #name: string;
  readonly #size: number;
  readonly #verify: BlockVerifier;
  readonly #bits: Uint8Array;
  #left: number;
  #generation = 0;

  /** @param name of the file, as clients know it. @param size its bytes. */
  constructor(name: string, size: number, verify: BlockVerifier) {
    this.#name = name;
    this.#size = size;
    this.#verify = verify;
    this.#left = Math.ceil(size / VERIFIED_BLOCK);
    this.#bits = new Uint8Array(Math.ceil(this.#left / 8));
  }

  /** Grows when all is forgotten: what was read before then is no word about what is there now. */
  get generation(): number {
    return this.#generation;
  }

  /** From now on every block is looked at once more. */
  forget(): void {
    this.#generation += 1;
    this.#bits.fill(0);
    this.#left = Math.ceil(this.#size / VERIFIED_BLOCK);
  }

  /** Blocks that no one has read yet. */
  get left(): number {
    return this.#left;
  }

  /** True where every block that has a byte in this range was verified. */
  has(position: number, length: number): boolean {
    if (this.#left === 0) return true;
    for (let index = blockOf(position); index * VERIFIED_BLOCK < position + length; index += 1) {
      if (!this.#hasBlock(index)) return false;
    }
    return true;
  }

  /**
   * Fills `into` from `position`, reading whole blocks and looking at those that were not verified. Undefined where
   * that was done at once, as it is where whole blocks are asked for, the file is in memory and the verifier knows.
   *
   * @throws Refusal, or rejects with it, where one is not what was sealed; what `into` holds then must not leave.
   */
  read(into: Buffer, position: number, readFile: ReadFile): Promise<void> | undefined {
    const end = position + into.length;
    const isWhole = position % VERIFIED_BLOCK === 0 && (end % VERIFIED_BLOCK === 0 || end === this.#size);
    if (!isWhole) return this.#readParts(into, position, readFile);
    const reading = readFile(into, position);
    return reading === undefined
      ? this.#lookAt(into, position)
      : reading.then(() => this.#lookAt(into, position));
  }

  async #readParts(into: Buffer, position: number, readFile: ReadFile): Promise<void> {
    const end = position + into.length;
    // Blocks of which only a part is wanted are read whole, elsewhere.
    const first = Math.ceil(position / VERIFIED_BLOCK) * VERIFIED_BLOCK;
    const last = end === this.#size ? end : Math.floor(end / VERIFIED_BLOCK) * VERIFIED_BLOCK;
    if (first > position) await this.#readPart(into, position, blockOf(position), readFile);
    if (last > first) {
      const whole = into.subarray(first - position, last - position);
      await readFile(whole, first);
      await this.#lookAt(whole, first);
    }
    if (end > last && last >= first) await this.#readPart(into, position, blockOf(end), readFile);
  }

  /** The bytes of `into` that are in block `index`. */
  async #readPart(into: Buffer, position: number, index: number, readFile: ReadFile): Promise<void> {
    const start = index * VERIFIED_BLOCK;
    const block = Buffer.allocUnsafe(Math.min(VERIFIED_BLOCK, this.#size - start));
    await readFile(block, start);
    await this.#look(index, block);
    const from = Math.max(position, start);
    block.copy(
      into,
      from - position,
      from - start,
      Math.min(position + into.length, start + block.length) - start,
    );
  }

  /** Looks at whole blocks, of which the first is at `position`; undefined where that is done. */
  #lookAt(whole: Buffer, position: number): Promise<void> | undefined {
    for (let at = 0; at < whole.length; at += VERIFIED_BLOCK) {
      const next = at + VERIFIED_BLOCK;
      const looking = this.#look(blockOf(position + at), whole.subarray(at, next));
      if (looking !== undefined)
        return looking.then(() => this.#lookAt(whole.subarray(next), position + next));
    }
    return undefined;
  }

  #look(index: number, block: Buffer): Promise<void> | undefined {
    if (this.#hasBlock(index)) return undefined;
    const generation = this.#generation;
    const verdict = this.#verify(index, block);
    if (typeof verdict !== 'boolean') return verdict.then((yes) => this.#note(index, yes, generation));
    this.#note(index, verdict, generation);
    return undefined;
  }

  /** @throws Refusal where `verdict`, of a block that was read at `generation`, is no yes. */
  #note(index: number, verdict: boolean, generation: number): void {
    if (!verdict) {
      const message = `Block ${index} of ${this.#name} is not the one that was sealed.`;
      throw new Refusal('bad-signature', message, { block: index });
    }
    // Another read may have looked at it meanwhile.
    if (this.#hasBlock(index) || generation !== this.#generation) return;
    this.#bits[index >> 3] = (this.#bits[index >> 3] ?? 0) | (1 << (index & 7));
    this.#left -= 1;
  }

  #hasBlock(index: number): boolean {
    return ((this.#bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }
}

function blockOf(position: number): number {
  return Math.floor(position / VERIFIED_BLOCK);
}
