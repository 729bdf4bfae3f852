import assert from 'node:assert/strict';
import { it } from 'node:test';
import { syncTogether } from '../../src/files/sync-together.ts';

/** A disk whose syncs end when the test says so. */
function slowDisk() {
  const running: { readonly folder: string; end(): void; fail(error: Error): void }[] = [];
  const sync = (folder: string) =>
    new Promise<void>((resolve, reject) => {
      running.push({ folder, end: resolve, fail: reject });
    });
  return { running, sync };
}

/** All that can go on has gone on. */
const settled = () => new Promise((resolve) => setImmediate(resolve));

it('one sync is for all who asked before it began, and for nobody who asked later', async () => {
  const { running, sync } = slowDisk();
  const over: string[] = [];
  const ask = (who: string, folder = 'a') => {
    void syncTogether(folder, sync).then(() => over.push(who));
  };
  ask('first');
  // What these have renamed the first one may have missed.
  ask('second');
  ask('third');
  ask('elsewhere', 'b');
  await settled();
  assert.deepEqual(
    running.map(({ folder }) => folder),
    ['a', 'b'],
  );
  running[0]?.end();
  await settled();
  assert.deepEqual(over, ['first']);
  ask('fourth');
  await settled();
  assert.equal(running.length, 3);
  running[2]?.end();
  await settled();
  assert.deepEqual(over, ['first', 'second', 'third']);
  running[3]?.end();
  await settled();
  running[1]?.end();
  await settled();
  assert.deepEqual(over, ['first', 'second', 'third', 'fourth', 'elsewhere']);
  // Nothing is left that the next one would wait for.
  ask('fifth');
  assert.equal(running.length, 5);
  running[4]?.end();
  await settled();
  assert.equal(over.at(-1), 'fifth');
});

it('one that fails has failed for all of them, and the next is another', async () => {
  const { running, sync } = slowDisk();
  const first = syncTogether('c', sync);
  const others = [syncTogether('c', sync), syncTogether('c', sync)];
  running[0]?.fail(new Error('the disk is gone'));
  await assert.rejects(first, /gone/);
  await settled();
  const after = syncTogether('c', sync);
  running[1]?.fail(new Error('still gone'));
  for (const one of others) await assert.rejects(one, /still gone/);
  await settled();
  running[2]?.end();
  await after;
  assert.equal(running.length, 3);
});
