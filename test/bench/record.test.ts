import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { MachineFacts } from '../../bench/frame/machine.ts';
import { type Recorded, regressions } from '../../bench/frame/record.ts';
import { resultOf, type Unit } from '../../bench/frame/row.ts';

const MACHINE: MachineFacts = {
  processors: '2 × a processor',
  memoryGiB: 8,
  kernel: 'Linux 6.1',
  node: 'v20.20.2',
  load: 0,
};
const run = (unit: Unit, values: readonly number[] | undefined, machine = MACHINE): Recorded => ({
  machine,
  measured: '2026-11-30',
  rows: [resultOf({ name: 'a/b', job: 'a job', unit }, values && { values })],
});
const worse = (unit: Unit, now: readonly number[], before: readonly number[], machine = MACHINE) =>
  regressions(run(unit, now, machine), run(unit, before)).map(({ says }) => says);

it('a ratio that fell by more than noise is told, with both figures', () => {
  assert.deepEqual(worse('times', [0.8, 0.81, 0.82], [1, 1.01, 1.02]), [
    'a job: 0.81×, and 1.01× on record of 2026-11-30.',
  ]);
});

it('what noise explains is not: a small step, or rounds that overlap', () => {
  assert.deepEqual(worse('times', [0.87, 0.88, 0.89], [1, 1.01, 1.02]), []);
  assert.deepEqual(worse('times', [0.5, 0.8, 1.01], [1, 1.01, 1.02]), []);
  assert.deepEqual(worse('times', [2, 2, 2], [1, 1, 1]), []);
});

it('of seconds more is worse, of a rate less', () => {
  assert.equal(worse('s', [1.2, 1.3, 1.4], [1, 1, 1]).length, 1);
  assert.deepEqual(worse('s', [0.5, 0.5, 0.5], [1, 1, 1]), []);
  assert.equal(worse('/s', [700, 700, 700], [1000, 1000, 1000]).length, 1);
});

it('seconds of another machine say nothing, ratios do', () => {
  const another = { ...MACHINE, processors: '64 × another' };
  assert.deepEqual(worse('s', [9, 9, 9], [1, 1, 1], another), []);
  assert.equal(worse('times', [0.1, 0.1, 0.1], [1, 1, 1], another).length, 1);
});

it('rows that one of the two lacks are passed over', () => {
  assert.deepEqual(regressions(run('times', undefined), run('times', [1])), []);
  assert.deepEqual(regressions(run('times', [1]), run('times', undefined)), []);
  assert.deepEqual(regressions(run('times', [1]), { ...run('times', [9]), rows: [] }), []);
});
