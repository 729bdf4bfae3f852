import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { eachAtOnce, oneByOne } from '../../src/files/at-once.ts';

/** Work that ends when it is told to. */
function steps() {
  const begun: number[] = [];
  const ends = new Map<number, { resolve: (value: string) => void; reject: (error: Error) => void }>();
  const work = (at: number) => {
    begun.push(at);
    return new Promise<string>((resolve, reject) => ends.set(at, { resolve, reject }));
  };
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return { begun, work, turn, end: (at: number) => ends.get(at)?.resolve(`${at}`), ends };
}

describe('work for many, some at a time', () => {
  it('is begun in their order, never more at a time, and answered in their order', async () => {
    const { begun, work, turn, end } = steps();
    const all = eachAtOnce([0, 1, 2, 3], 2, work);
    await turn();
    assert.deepEqual(begun, [0, 1]);
    end(1);
    await turn();
    assert.deepEqual(begun, [0, 1, 2]);
    end(2);
    await turn();
    end(3);
    end(0);
    assert.deepEqual(await all, ['0', '1', '2', '3']);
    assert.deepEqual(await eachAtOnce([], 2, work), []);
  });

  it('ends with what failed first, once those under way have ended, and begins no other', async () => {
    const { begun, work, turn, end, ends } = steps();
    let over = false;
    const all = eachAtOnce([0, 1, 2, 3], 2, work).finally(() => {
      over = true;
    });
    const failed = assert.rejects(all, /first/);
    await turn();
    ends.get(1)?.reject(new Error('first'));
    await turn();
    assert.equal(over, false);
    ends.get(0)?.reject(new Error('second'));
    await failed;
    end(0);
    assert.deepEqual(begun, [0, 1]);
  });
});

it('one by one: each begins when the one before has ended, however that ended', async () => {
  const { begun, work, turn, end, ends } = steps();
  const inTurn = oneByOne();
  const first = inTurn(() => work(0));
  const second = inTurn(() => work(1));
  const failed = assert.rejects(first, /gone/);
  await turn();
  assert.deepEqual(begun, [0]);
  ends.get(0)?.reject(new Error('gone'));
  await failed;
  await turn();
  end(1);
  assert.equal(await second, '1');
});
