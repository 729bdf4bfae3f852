import { hashesToStore, joinNodes, leafHash } from './merkle.ts';

/**
 * A tree (RFC 9162 §2.1) as its next leaf needs it: the hashes of the complete subtrees that it is made of, the left and
 * largest one first. There are as many as `size` has binary digits that are 1. A value: growing it makes another.
 */
export class MerkleFrontier {
  static readonly EMPTY = new MerkleFrontier(0, []);

  /** Leaves. */
  readonly size: number;
  readonly #peaks: readonly Uint8Array[];

  /** @param peaks hashes of `subtreesOf({ from: 0, to: size })`. */
  constructor(size: number, peaks: readonly Uint8Array[]) {
    this.size = size;
    this.#peaks = peaks;
  }

  /** Lower-case hex. */
  get root(): string {
    return Buffer.from(joinNodes(this.#peaks)).toString('hex');
  }

  /** @returns with one leaf more; `hashes`: of that leaf and the subtrees that it completes (`hashesToStore`). */
  grow(entry: Uint8Array): { readonly frontier: MerkleFrontier; readonly hashes: readonly Uint8Array[] } {
    let completed = 0;
    // Each that ends where the leaf is, and has as many leaves as what the leaf completed before, becomes one with it.
    for (let rest = this.size; rest % 2 === 1; rest = (rest - 1) / 2) completed += 1;
    const kept = this.#peaks.length - completed;
    const hashes = hashesToStore(leafHash(entry), this.#peaks.slice(kept).reverse());
    const largest = hashes.slice(-1);
    return {
      frontier: new MerkleFrontier(this.size + 1, [...this.#peaks.slice(0, kept), ...largest]),
      hashes,
    };
  }
}
