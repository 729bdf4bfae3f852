import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairBudget } from '../../src/serve/fair-budget.ts';

const share = (name: string, weight = 1) => ({ name, weight });

/** Draws one by one for as long as there is room. */
function drain(budget: FairBudget, of: { name: string; weight: number }): number {
  let count = 0;
  for (; budget.room(of) >= 1; count += 1) budget.take(of, 1);
  return count;
}

test('one alone gets most of it, and the next ones still find some', () => {
  const budget = new FairBudget(900, 8);
  assert.equal(drain(budget, share('first')), 800);
  const second = drain(budget, share('second'));
  assert.ok(second > 80 && second < 100, String(second));
  assert.ok(drain(budget, share('third')) > 0);
});

test('a weight counts so many times', () => {
  const budget = new FairBudget(1000, 1);
  assert.equal(drain(budget, share('classroom', 4)), 800);
  assert.equal(drain(budget, share('one')), 100);
});

test('what is given back is there again', () => {
  const budget = new FairBudget(100, 1);
  const one = share('one');
  assert.equal(drain(budget, one), 50);
  budget.give(one, 50);
  assert.deepEqual([budget.held, budget.heldBy(one)], [0, 0]);
  assert.equal(drain(budget, one), 50);
});
