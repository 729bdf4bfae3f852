import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkPool } from '../../src/serve/chunk-pool.ts';

const ONE = { name: '10.0.0.1', weight: 1 };
const OTHER = { name: '10.0.0.2', weight: 1 };

const KIB = 1024;
const MIB = 1024 * KIB;

test('a buffer comes back only after it was given', () => {
  const pool = new ChunkPool(256 * MIB);
  const first = pool.take(MIB, ONE);
  const second = pool.take(MIB, ONE);
  assert.notEqual(first, second);
  pool.give(first, ONE);
  assert.equal(pool.take(MIB, ONE), first);
  pool.drop(second, ONE);
  assert.notEqual(pool.take(MIB, ONE), second);
});

test('chunks shrink as the budget is used up, so stalled clients cannot hold a mebibyte each', () => {
  const pool = new ChunkPool(64 * MIB);
  for (let client = 0; client < 4096; client++) pool.take(MIB, ONE);
  assert.ok(pool.held < 64 * MIB + 4096 * 64 * KIB);
  assert.equal(pool.take(MIB, ONE).length, 64 * KIB);
});

test('what is asked for is rounded down to a size there is', () => {
  const pool = new ChunkPool(256 * MIB);
  assert.deepEqual(
    [1, 64 * KIB, 300 * KIB, 9 * MIB].map((wanted) => pool.take(wanted, ONE).length),
    [64 * KIB, 64 * KIB, 256 * KIB, MIB],
  );
});

test('chunks of one address stay large, however much another one holds', () => {
  const pool = new ChunkPool(256 * MIB);
  for (let client = 0; client < 4096; client++) pool.take(MIB, ONE);
  assert.equal(pool.take(MIB, ONE).length, 64 * KIB);
  const others = new ChunkPool(256 * MIB);
  while (others.hasRoom(ONE)) others.take(MIB, ONE);
  assert.equal(others.take(MIB, OTHER).length, MIB);
});
