import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tally } from '../../src/serve/tally.ts';

test('what was counted is written once, by key', () => {
  const written: [string, number][] = [];
  const tally = new Tally<string>((key, amount) => written.push([key, amount]));
  tally.add('a');
  tally.add('b', 5);
  tally.add('a', -3);
  assert.deepEqual(written, []);
  tally.settle();
  tally.settle();
  assert.deepEqual(written, [
    ['a', -2],
    ['b', 5],
  ]);
  tally.add('a');
  tally.settle();
  assert.deepEqual(written.at(-1), ['a', 1]);
});
