import assert from 'node:assert/strict';
import { it } from 'node:test';
import {
  hashesToStore,
  joinNodes,
  leafHash,
  leftOf,
  nodeHash,
  nodesOf,
  storedHashes,
  subtreesOf,
} from '../../../src/formats/records/merkle.ts';
import { MerkleFrontier } from '../../../src/formats/records/merkle-frontier.ts';

const SIZE = 70;
const leaf = (index: number) => Buffer.from(`entry ${index}`);

/** RFC 9162 §2.1.1, as it is written. */
function root(from: number, to: number): Uint8Array {
  if (to - from === 1) return leafHash(leaf(from));
  let split = 1;
  while (split * 2 < to - from) split *= 2;
  return nodeHash(root(from, from + split), root(from + split, to));
}

it('grows as the tree does, and completes the same hashes', () => {
  const stored: Uint8Array[] = [];
  let frontier = MerkleFrontier.EMPTY;
  assert.equal(frontier.root, Buffer.from(joinNodes([])).toString('hex'));
  for (let index = 0; index < SIZE; index += 1) {
    const expected = hashesToStore(
      leafHash(leaf(index)),
      leftOf(index).map((position) => stored[position] as Uint8Array),
    );
    const before = frontier.root;
    const grown = frontier.grow(leaf(index));
    assert.deepEqual(grown.hashes.map(String), expected.map(String));
    assert.equal(frontier.root, before, 'it is a value');
    stored.push(...expected);
    frontier = grown.frontier;
    assert.equal(frontier.size, index + 1);
    assert.equal(frontier.root, Buffer.from(root(0, index + 1)).toString('hex'));
  }
});

it('begins at any size with the hashes of the subtrees that a tree of it is made of', () => {
  const stored: Uint8Array[] = [];
  let whole = MerkleFrontier.EMPTY;
  for (let size = 0; size < SIZE; size += 1) {
    const subtrees = subtreesOf({ from: 0, to: size });
    assert.deepEqual(
      subtrees.map(({ last, level }) => storedHashes(last) + level),
      nodesOf({ from: 0, to: size }),
    );
    const begun = new MerkleFrontier(
      size,
      nodesOf({ from: 0, to: size }).map((position) => stored[position] as Uint8Array),
    );
    const grown = whole.grow(leaf(size));
    assert.equal(begun.root, whole.root);
    assert.equal(begun.grow(leaf(size)).frontier.root, grown.frontier.root);
    stored.push(...grown.hashes);
    whole = grown.frontier;
  }
});
