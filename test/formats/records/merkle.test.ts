import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  consistencyRanges,
  hashesToStore,
  inclusionRanges,
  isConsistent,
  isIncluded,
  joinNodes,
  leafHash,
  leafPosition,
  leftOf,
  nodesOf,
  type Range,
  storedHashes,
} from '../../../src/formats/records/merkle.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const octets = (text: string) => Buffer.from(text, 'hex');
const sha256 = (...parts: Uint8Array[]) => createHash('sha256').update(Buffer.concat(parts)).digest();

/** §2.1.1, word for word. */
function mth(d: readonly Uint8Array[]): Buffer {
  if (d.length === 0) return sha256();
  if (d.length === 1) return sha256(octets('00'), d[0] as Uint8Array);
  const k = largestPowerBelow(d.length);
  return sha256(octets('01'), mth(d.slice(0, k)), mth(d.slice(k)));
}

/** §2.1.3.1, word for word. */
function pathOf(m: number, d: readonly Uint8Array[]): Buffer[] {
  if (d.length === 1) return [];
  const k = largestPowerBelow(d.length);
  return m < k
    ? [...pathOf(m, d.slice(0, k)), mth(d.slice(k))]
    : [...pathOf(m - k, d.slice(k)), mth(d.slice(0, k))];
}

/** §2.1.4.1, word for word. */
function subproof(m: number, d: readonly Uint8Array[], b: boolean): Buffer[] {
  if (m === d.length) return b ? [] : [mth(d)];
  const k = largestPowerBelow(d.length);
  return m <= k
    ? [...subproof(m, d.slice(0, k), b), mth(d.slice(k))]
    : [...subproof(m - k, d.slice(k), false), mth(d.slice(0, k))];
}

function largestPowerBelow(n: number): number {
  let k = 1;
  while (k < n) k *= 2;
  return k / 2;
}

/** Our tree: nothing but appends and positions. */
class Tree {
  readonly stored: Uint8Array[] = [];
  size = 0;

  add(entry: Uint8Array): void {
    const left = leftOf(this.size).map((at) => this.at(at));
    assert.equal(leafPosition(this.size), this.stored.length);
    this.stored.push(...hashesToStore(leafHash(entry), left));
    this.size += 1;
    assert.equal(storedHashes(this.size), this.stored.length);
  }

  at(position: number): Uint8Array {
    const hash = this.stored[position];
    assert.ok(hash, `position ${position}`);
    return hash;
  }

  hash(range: Range): Uint8Array {
    return joinNodes(nodesOf(range).map((at) => this.at(at)));
  }

  root(size = this.size): Uint8Array {
    return this.hash({ from: 0, to: size });
  }

  inclusion(index: number, size = this.size): Uint8Array[] {
    return inclusionRanges(index, size).map((range) => this.hash(range));
  }

  consistency(older: number, newer = this.size): Uint8Array[] {
    return consistencyRanges(older, newer).map((range) => this.hash(range));
  }
}

function treeOf(entries: readonly Uint8Array[]): Tree {
  const tree = new Tree();
  for (const entry of entries) tree.add(entry);
  return tree;
}

/** The entries, roots and proofs that the test suites of certificate-transparency-go and its kin share. */
const ENTRIES = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map(octets);
const ROOTS = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];
const A = '96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7';
const B = '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e';
const C = '6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4';
const D = 'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b';
const E = 'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0';
const F = '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a';
const [, ROOT1 = '', ROOT2 = '', , ROOT4 = ''] = ROOTS;

describe('published vectors', () => {
  const tree = treeOf(ENTRIES);

  it('roots of trees of 0 to 8 entries', () => {
    assert.deepEqual(
      ROOTS.map((_, size) => hex(tree.root(size))),
      ROOTS,
    );
  });

  for (const [index, size, path] of [
    [0, 1, []],
    [0, 8, [A, B, C]],
    [5, 8, [D, E, ROOT4]],
    [2, 3, [ROOT2]],
    [1, 5, [ROOT1, B, D]],
  ] as const) {
    it(`entry ${index} of ${size}`, () => {
      assert.deepEqual(tree.inclusion(index, size).map(hex), path);
      const entry = leafHash(ENTRIES[index] as Uint8Array);
      assert.ok(isIncluded(entry, index, size, path.map(octets), octets(ROOTS[size] ?? '')));
    });
  }

  for (const [older, newer, path] of [
    [1, 1, []],
    [1, 8, [A, B, C]],
    [6, 8, [F, E, ROOT4]],
    [2, 5, [B, D]],
  ] as const) {
    it(`a tree of ${older} within one of ${newer}`, () => {
      assert.deepEqual(tree.consistency(older, newer).map(hex), path);
      const head = (size: number) => ({ size, root: octets(ROOTS[size] ?? '') });
      assert.ok(isConsistent(head(older), head(newer), path.map(octets)));
    });
  }
});

describe('the definition, for every size up to 130', () => {
  const entries = Array.from({ length: 130 }, (_, index) => Buffer.from(`entry ${index}`));
  const tree = treeOf(entries);
  const sizes = Array.from({ length: 131 }, (_, size) => size);

  it('roots', () => {
    for (const size of sizes) assert.equal(hex(tree.root(size)), hex(mth(entries.slice(0, size))));
  });

  it('every inclusion proof', () => {
    for (const size of sizes) {
      const root = tree.root(size);
      for (let index = 0; index < size; index += 1) {
        const path = tree.inclusion(index, size);
        // The definition takes cubic time: each size is met at its ends and its middle, the last one everywhere.
        if (size === 130 || [0, size >> 1, size - 1].includes(index))
          assert.deepEqual(path.map(hex), pathOf(index, entries.slice(0, size)).map(hex));
        assert.ok(isIncluded(leafHash(entries[index] as Uint8Array), index, size, path, root));
      }
    }
  });

  it('every consistency proof', () => {
    for (const newer of sizes) {
      for (let older = 0; older <= newer; older += 1) {
        const path = tree.consistency(older, newer);
        if (older > 0 && (newer === 130 || newer % 16 < 2))
          assert.deepEqual(path.map(hex), subproof(older, entries.slice(0, newer), true).map(hex));
        const head = (size: number) => ({ size, root: tree.root(size) });
        assert.ok(isConsistent(head(older), head(newer), path), `${older} in ${newer}`);
      }
    }
  });
});

describe('what proves nothing', () => {
  const other = sha256(octets('ff'));
  const entries = Array.from({ length: 40 }, (_, index) => Buffer.from([index]));
  const tree = treeOf(entries);
  const some = fc.integer({ min: 1, max: 40 });

  /** Every way to spoil a path by one step. */
  const spoilt = (path: readonly Uint8Array[]) => [
    ...path.map((_, at) => path.filter((__, index) => index !== at)),
    ...path.map((_, at) => path.with(at, other)),
    [...path, other],
    [other, ...path],
    ...(path.length > 1 ? [path.toReversed()] : []),
  ];

  it('an inclusion path with anything changed, or of another entry, place, size or root', () => {
    fc.assert(
      fc.property(some, fc.nat(), (size, any) => {
        const index = any % size;
        const leaf = leafHash(entries[index] as Uint8Array);
        const root = tree.root(size);
        const path = tree.inclusion(index, size);
        for (const wrong of spoilt(path)) assert.ok(!isIncluded(leaf, index, size, wrong, root));
        assert.ok(!isIncluded(other, index, size, path, root));
        assert.ok(!isIncluded(leaf, index, size, path, other));
        for (const place of [index - 1, index + 1, size, Number.NaN])
          assert.ok(!isIncluded(leaf, place, size, path, root), `${index} as ${place} of ${size}`);
        for (const wrong of [0, -1, index, Number.NaN])
          assert.ok(!isIncluded(leaf, index, wrong, path, root));
      }),
    );
  });

  it('a consistency path with anything changed, or of other roots', () => {
    fc.assert(
      fc.property(some, fc.nat(), (newer, any) => {
        const older = any % (newer + 1);
        const head = (size: number, root = tree.root(size)) => ({ size, root });
        const path = tree.consistency(older, newer);
        for (const wrong of spoilt(path)) assert.ok(!isConsistent(head(older), head(newer), wrong));
        assert.ok(!isConsistent(head(older, other), head(newer), path));
        if (older > 0) assert.ok(!isConsistent(head(older), head(newer, other), path));
        if (older < newer) assert.ok(!isConsistent(head(newer), head(older), path));
      }),
    );
  });

  it('a tree that forked: no path leads from the one to the other', () => {
    for (let fork = 0; fork < 20; fork += 1) {
      const forked = treeOf(entries.with(fork, other));
      for (let older = fork + 1; older < 40; older += 1) {
        const head = { size: older, root: tree.root(older) };
        const newer = { size: 40, root: forked.root() };
        for (const path of [tree.consistency(older), forked.consistency(older)])
          assert.ok(!isConsistent(head, newer, path));
      }
    }
  });

  it('a proof that nobody can ask for is a mistake of the caller', () => {
    for (const [index, size] of [
      [0, 0],
      [3, 3],
      [-1, 3],
    ] as const)
      assert.throws(() => inclusionRanges(index, size), RangeError);
    assert.throws(() => consistencyRanges(4, 3), RangeError);
  });
});

it('positions stay exact beyond 32 bits, and what an append reads is the logarithm of the size', () => {
  const large = 2 ** 40 + 2 ** 33;
  assert.equal(storedHashes(2 ** 40), 2 ** 41 - 1);
  assert.equal(leftOf(2 ** 40 - 1).length, 40);
  assert.equal(inclusionRanges(5, large).length, 41);
  assert.ok(inclusionRanges(large - 1, large).flatMap(nodesOf).length <= 41);
  for (const position of nodesOf({ from: 0, to: large })) assert.ok(position < storedHashes(large));
});
