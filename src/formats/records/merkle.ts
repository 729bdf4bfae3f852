import { createHash } from 'node:crypto';

/**
 * The Merkle tree of RFC 9162 §2.1 over SHA-256.
 *
 * A log stores one hash for every leaf and every complete subtree, in the order in which they become complete:
 * appending leaf `e` completes the subtrees of level 0 (itself) up to the number of trailing one bits of `e`.
 * Nothing that was stored ever changes, and every hash that a root or a proof needs has a known position. What
 * must be read is told as positions first, so that nothing here reads.
 */

export const HASH_OCTETS = 32;

/** A hash of each of 2^53 leaves' levels; a proof that is longer proves nothing. */
export const MAX_PROOF = 53;

/** Leaves `from` up to, and without, `to`: what one element of a proof stands for. */
export interface Range {
  readonly from: number;
  readonly to: number;
}

/** Hash of an entry (§2.1.1): SHA-256 of 0x00 and its bytes. */
export function leafHash(entry: Uint8Array): Uint8Array {
  return createHash('sha256').update(Uint8Array.of(0)).update(entry).digest();
}

/** Hash of an inner node (§2.1.1): SHA-256 of 0x01, left and right. Without the byte a node could pass as an entry. */
export function nodeHash(left: Uint8Array, right: Uint8Array): Uint8Array {
  return createHash('sha256').update(Uint8Array.of(1)).update(left).update(right).digest();
}

/** How many hashes are stored for so many leaves. */
export function storedHashes(leaves: number): number {
  let ones = 0;
  for (let rest = leaves; rest > 0; rest = half(rest)) ones += rest % 2;
  return 2 * leaves - ones;
}

/** Where the hash of a leaf is stored. */
export function leafPosition(index: number): number {
  return storedHashes(index);
}

/** A complete subtree: its hash is stored when its last leaf is, after those of the smaller ones that end with it. */
export interface Subtree {
  /** Index of its last leaf. */
  readonly last: number;
  /** It has 2^level leaves. */
  readonly level: number;
}

/** The complete subtrees that a range is made of, the left one first. */
export function subtreesOf({ from, to }: Range): Subtree[] {
  const found: Subtree[] = [];
  for (let at = from; at < to; ) {
    let level = 0;
    let width = 1;
    while (at % (2 * width) === 0 && at + 2 * width <= to) {
      width *= 2;
      level += 1;
    }
    found.push({ last: at + width - 1, level });
    at += width;
  }
  return found;
}

/** Positions of the complete subtrees that a range is made of, the left one first. */
export function nodesOf(range: Range): number[] {
  return subtreesOf(range).map(({ last, level }) => storedHashes(last) + level);
}

/** Hash of a range (§2.1.1) from those of `nodesOf`; of none: the root of the empty tree. */
export function joinNodes(hashes: readonly Uint8Array[]): Uint8Array {
  const last = hashes.at(-1);
  if (!last) return createHash('sha256').digest();
  return hashes.slice(0, -1).reduceRight((right, left) => nodeHash(left, right), last);
}

/** Positions of what stands left of the subtrees that leaf `index` completes, the smallest first. */
export function leftOf(index: number): number[] {
  const positions: number[] = [];
  for (let width = 1; half(index, width) % 2 === 1; width *= 2) {
    const end = half(index, width) * width;
    positions.push(storedHashes(end - 1) + Math.log2(width));
  }
  return positions;
}

/** What is stored for a new leaf, from its hash and those at `leftOf`. */
export function hashesToStore(leaf: Uint8Array, left: readonly Uint8Array[]): Uint8Array[] {
  const hashes = [leaf];
  for (const sibling of left) hashes.push(nodeHash(sibling, hashes.at(-1) ?? leaf));
  return hashes;
}

/** The elements of an inclusion proof (§2.1.3.1) of leaf `index` in a tree of `size`. */
export function inclusionRanges(index: number, size: number): Range[] {
  if (!(index >= 0 && index < size)) throw new RangeError(`no leaf ${index} in a tree of ${size}`);
  const ranges: Range[] = [];
  let from = 0;
  let to = size;
  while (to - from > 1) {
    const middle = from + split(to - from);
    if (index < middle) {
      ranges.unshift({ from: middle, to });
      to = middle;
    } else {
      ranges.unshift({ from, to: middle });
      from = middle;
    }
  }
  return ranges;
}

/** The elements of a consistency proof (§2.1.4.1) between a tree of `older` leaves and one of `newer`. */
export function consistencyRanges(older: number, newer: number): Range[] {
  if (!(older >= 0 && older <= newer)) throw new RangeError(`no tree of ${older} within one of ${newer}`);
  // Of a tree without leaves, or of the same one, there is nothing to prove.
  if (older === 0 || older === newer) return [];
  const ranges: Range[] = [];
  let from = 0;
  let to = newer;
  while (older !== to) {
    const middle = from + split(to - from);
    if (older <= middle) {
      ranges.unshift({ from: middle, to });
      to = middle;
    } else {
      ranges.unshift({ from, to: middle });
      from = middle;
    }
  }
  // What begins the older tree is the older tree itself, where it is complete: its root is known.
  return from === 0 ? ranges : [{ from, to }, ...ranges];
}

/** §2.1.3.2: true when `path` leads from a leaf's hash to the root. */
export function isIncluded(
  leaf: Uint8Array,
  index: number,
  size: number,
  path: readonly Uint8Array[],
  root: Uint8Array,
): boolean {
  if (!(index >= 0 && index < size)) return false;
  let fn = index;
  let sn = size - 1;
  let hash = leaf;
  for (const element of path) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      hash = nodeHash(element, hash);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      hash = nodeHash(hash, element);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return sn === 0 && same(hash, root);
}

/** §2.1.4.2: true when the newer tree begins with the leaves of the older one. */
export function isConsistent(
  older: { readonly size: number; readonly root: Uint8Array },
  newer: { readonly size: number; readonly root: Uint8Array },
  path: readonly Uint8Array[],
): boolean {
  if (!(older.size >= 0 && older.size <= newer.size)) return false;
  if (older.size === newer.size) return path.length === 0 && same(older.root, newer.root);
  if (older.size === 0) return path.length === 0 && same(older.root, joinNodes([]));
  let fn = older.size - 1;
  let sn = newer.size - 1;
  while (fn % 2 === 1) {
    fn = half(fn);
    sn = half(sn);
  }
  // fn is 0 for a power of two and for nothing else: the older root is then where both begin.
  const [first, ...rest] = fn === 0 ? [older.root, ...path] : path;
  if (!first || path.length === 0) return false;
  let fr = first;
  let sr = first;
  for (const element of rest) {
    if (sn === 0) return false;
    if (fn % 2 === 1 || fn === sn) {
      fr = nodeHash(element, fr);
      sr = nodeHash(element, sr);
      while (fn % 2 === 0 && fn !== 0) {
        fn = half(fn);
        sn = half(sn);
      }
    } else {
      sr = nodeHash(sr, element);
    }
    fn = half(fn);
    sn = half(sn);
  }
  return sn === 0 && same(fr, older.root) && same(sr, newer.root);
}

/** The largest power of two that is smaller than `size`, which is 2 or more. */
function split(size: number): number {
  let power = 1;
  while (power * 2 < size) power *= 2;
  return power;
}

/** Without the 32 bits of `>>`. */
function half(count: number, by = 2): number {
  return Math.floor(count / by);
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
