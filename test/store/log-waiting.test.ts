import assert from 'node:assert/strict';
import { appendFile, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { readWaiting } from '../../src/store/log-waiting.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { refused } from '../trust/judge.ts';
import { makeLogKey, newState, record } from './logs.ts';

const folder = await temporaryFolder();
const key = await makeLogKey(join(folder, 'key'));

async function waiting(state: string) {
  const indexes: number[] = [];
  const found = await readWaiting(state, ({ index }) => void indexes.push(index));
  return { ...found, indexes };
}

it('goes through the entries after the checkpoint alone', async () => {
  const state = await newState(folder);
  assert.deepEqual(await waiting(state), { signed: 0, count: 0, indexes: [] });
  await record(state, 2);
  assert.deepEqual(await waiting(state), { signed: 0, count: 2, indexes: [0, 1] });
  await record(state, 3, key, {}, 2);
  assert.deepEqual(await waiting(state), { signed: 5, count: 0, indexes: [] });
  await record(state, 2, undefined, {}, 5);
  assert.deepEqual(await waiting(state), { signed: 5, count: 2, indexes: [5, 6] });
});

it('leaves an entry in the making alone, and says where records were taken away', async () => {
  const state = await newState(folder);
  await record(state, 3, key);
  await appendFile(join(state, 'log', 'entries'), 'bootseal-log-en');
  assert.deepEqual(await waiting(state), { signed: 3, count: 0, indexes: [] });
  await truncate(join(state, 'log', 'offsets'), 8);
  await assert.rejects(waiting(state), refused('drifted', /shorter than its own records say/));
});
