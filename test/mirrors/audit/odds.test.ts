import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { draw } from '../../../src/mirrors/audit/draw.ts';
import { caughtAtLeast, rangesOf, type Sampling } from '../../../src/mirrors/audit/odds.ts';

/** Every set of `count` numbers below `limit`. */
function* sets(limit: number, count: number, from = 0): Generator<number[]> {
  if (count === 0) yield [];
  else
    for (let one = from; one < limit; one += 1)
      for (const rest of sets(limit, count - 1, one + 1)) yield [one, ...rest];
}

/** By trying all: the least probability, over every way to change so many blocks, that some drawn range holds one. */
function bruteForce(sampling: Sampling, changed: number): number {
  const ranges = rangesOf(sampling);
  const draws = [...sets(ranges, sampling.drawn)];
  let least = 1;
  for (const blocks of sets(sampling.blocks, changed)) {
    const hit = new Set(blocks.map((block) => Math.floor(block / sampling.rangeBlocks)));
    least = Math.min(
      least,
      draws.filter((drawn) => drawn.some((range) => hit.has(range))).length / draws.length,
    );
  }
  return least;
}

describe('the odds of a sample', () => {
  it('are what trying every way gives', () => {
    for (const blocks of [1, 2, 5, 8, 9])
      for (const rangeBlocks of [1, 2, 3])
        for (let drawn = 1; drawn <= rangesOf({ blocks, rangeBlocks }); drawn += 1)
          for (let changed = 1; changed <= blocks; changed += 1) {
            const sampling = { blocks, rangeBlocks, drawn };
            const told = caughtAtLeast(sampling, changed);
            const found = bruteForce(sampling, changed);
            assert.ok(
              Math.abs(told - found) < 1e-12,
              `${JSON.stringify({ ...sampling, changed })}: ${told} ${found}`,
            );
          }
  });

  it('of a large image are those of the hypergeometric distribution', () => {
    const blocks = Math.ceil(900_000_000 / 4096);
    const one = { blocks, rangeBlocks: 1, drawn: Math.ceil(blocks / 100) };
    assert.equal(caughtAtLeast(one, 0), 0);
    assert.ok(Math.abs(caughtAtLeast(one, 1) - one.drawn / blocks) < 1e-12);
    // 1 - C(219507, 2198) / C(219727, 2198), by exact integers.
    assert.ok(Math.abs(caughtAtLeast(one, 220) - exact(blocks, one.drawn, 220)) < 1e-10);
    assert.equal(caughtAtLeast(one, blocks), 1);
  });
});

/** The same in whole numbers, twenty digits of it. */
function exact(all: number, drawn: number, changed: number): number {
  let above = 1n;
  let below = 1n;
  for (let at = 0; at < changed; at += 1) {
    above *= BigInt(all - drawn - at);
    below *= BigInt(all - at);
  }
  return 1 - Number((above * 10n ** 20n) / below) / 1e20;
}

describe('drawing', () => {
  it('draws as many different numbers as are wanted, sorted, and each set as often as any other', () => {
    const counts = new Map<string, number>();
    // Every outcome of the three throws once: 4 · 5 · 6 of them.
    for (let a = 0; a < 4; a += 1)
      for (let b = 0; b < 5; b += 1)
        for (let c = 0; c < 6; c += 1) {
          const throws = [a, b, c];
          const drawn = draw(6, 3, () => throws.shift() ?? 0);
          assert.deepEqual(drawn, [...new Set(drawn)].sort());
          counts.set(String(drawn), (counts.get(String(drawn)) ?? 0) + 1);
        }
    assert.deepEqual(new Set(counts.values()), new Set([6]));
    assert.equal(counts.size, 20);
    assert.deepEqual(
      draw(3, 3, () => 0),
      [0, 1, 2],
    );
  });
});
