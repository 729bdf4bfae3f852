import assert from 'node:assert/strict';
import { it } from 'node:test';
import { compare } from '../../bench/frame/compare.ts';
import { resultOf, spreadOf } from '../../bench/frame/row.ts';

it('sides take turns, who begins changes, and rounds to get warm do not count', async () => {
  const order: string[] = [];
  const side = (name: string, seconds: number) => async (round: number) => {
    order.push(`${name}${round}`);
    return { seconds: seconds * (round + 2), processor: seconds / 10 };
  };
  const compared = await compare({ ours: side('a', 1), peer: side('b', 3) }, { rounds: 2 });
  assert.deepEqual(order, ['b-1', 'a-1', 'a0', 'b0', 'b1', 'a1']);
  assert.deepEqual(
    compared.samples.ours.map(({ seconds }) => seconds),
    [2, 3],
  );
  assert.deepEqual(compared.faster('peer'), [3, 3]);
  assert.deepEqual(compared.lighter('peer').map(Math.round), [3, 3]);
  assert.equal(compared.seconds('peer'), 7.5);
});

it('processor time that nobody measured is no figure', async () => {
  const compared = await compare({ ours: async () => 1, peer: async () => 2 }, { rounds: 1, warm: 0 });
  assert.throws(() => compared.lighter('peer'), RangeError);
});

it('a side that fails fails the comparison', async () => {
  const failing = async () => {
    throw new Error('the peer is gone');
  };
  await assert.rejects(compare({ ours: async () => 1, peer: failing }, { rounds: 1 }), /the peer is gone/);
});

it('a spread is the median between the least and the most', () => {
  assert.deepEqual(spreadOf([3, 1, 2]), { median: 2, least: 1, most: 3 });
  assert.deepEqual(spreadOf([4, 1]), { median: 2.5, least: 1, most: 4 });
  for (const bad of [[], [1, Number.NaN], [Number.POSITIVE_INFINITY]])
    assert.throws(() => spreadOf(bad), RangeError);
});

it('a goal is met by the median alone, and what was not measured meets none', () => {
  const row = { name: 'x/y', job: 'a job', unit: 'times' } as const;
  const met = (goal: { atLeast: number } | { atMost: number }, values: readonly number[]) =>
    resultOf({ ...row, goal }, { values }).met;
  assert.equal(met({ atLeast: 2 }, [1, 2, 9]), true);
  assert.equal(met({ atLeast: 2 }, [1, 1.9, 9]), false);
  assert.equal(met({ atMost: 2 }, [1, 2, 9]), true);
  assert.equal(met({ atMost: 2 }, [1, 2.1, 9]), false);
  assert.equal(resultOf({ ...row, goal: { atLeast: 2 } }, undefined).met, undefined);
  assert.equal(resultOf(row, { values: [1] }).met, undefined);
});
