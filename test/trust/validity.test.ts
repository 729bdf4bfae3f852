import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { demandWithin } from '../../src/trust/validity.ts';
import { NOW } from '../fixtures/keys.ts';
import { refused } from './judge.ts';

const DAY = 86_400_000;
const at = (now: number, margin = 0) => demandWithin('The seal', NOW, NOW + DAY, now, margin);

describe('a span of validity', () => {
  it('holds from its first to its last millisecond', () => {
    for (const now of [NOW, NOW + 1, NOW + DAY]) at(now);
  });

  it('is refused one millisecond outside, as expired or not yet valid', () => {
    assert.throws(
      () => at(NOW - 1),
      refused('not-yet-valid', /^The seal begins on 2026-11-01, and it is judged as of 2026-10-31/),
    );
    assert.throws(() => at(NOW + DAY + 1), refused('expired', /^The seal ended on 2026-11-02\.$/));
  });

  it('is widened by the margin on both sides', () => {
    for (const now of [NOW - 500, NOW + DAY + 500]) at(now, 500);
    assert.throws(() => at(NOW - 501, 500), refused('not-yet-valid'));
    assert.throws(() => at(NOW + DAY + 501, 500), refused('expired'));
  });

  it('tells a clock that was never set from one that runs slow', () => {
    for (const now of [0, Date.UTC(1980, 0), Date.UTC(2020, 0) - 1]) {
      assert.throws(
        () => at(now),
        refused('not-yet-valid', /this machine's clock says \d{4}-\d\d-\d\d: set it, or name/),
      );
    }
    assert.throws(() => at(Date.UTC(2020, 0)), refused('not-yet-valid', /it is judged as of 2020-01-01/));
  });

  it('gives the dates as facts', () => {
    assert.throws(
      () => at(0),
      (error) => {
        assert.deepEqual((error as { facts: unknown }).facts, { notBefore: '2026-11-01', now: '1970-01-01' });
        return true;
      },
    );
  });

  it('holds at no time that is no time', () => {
    for (const [now, margin] of [
      [Number.NaN, 0],
      [NOW, Number.NaN],
    ] as const) {
      assert.throws(() => at(now, margin), RangeError);
    }
  });
});
