import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ChunkPool } from '../../src/serve/chunk-pool.ts';

const KIB = 1024;
const MIB = 1024 * KIB;

test('a buffer comes back only after it was given', () => {
  const pool = new ChunkPool(256 * MIB);
  const first = pool.take(MIB);
  const second = pool.take(MIB);
  assert.notEqual(first, second);
  pool.give(first);
  assert.equal(pool.take(MIB), first);
  pool.drop(second);
  assert.notEqual(pool.take(MIB), second);
});

test('chunks shrink as the budget is used up, so stalled clients cannot hold a mebibyte each', () => {
  const pool = new ChunkPool(64 * MIB);
  for (let client = 0; client < 4096; client++) pool.take(MIB);
  assert.ok(pool.held < 64 * MIB + 4096 * 64 * KIB);
  assert.equal(pool.take(MIB).length, 64 * KIB);
});

test('what is asked for is rounded down to a size there is', () => {
  const pool = new ChunkPool(256 * MIB);
  assert.deepEqual(
    [1, 64 * KIB, 300 * KIB, 9 * MIB].map((wanted) => pool.take(wanted).length),
    [64 * KIB, 64 * KIB, 256 * KIB, MIB],
  );
});
