import assert from 'node:assert/strict';
import { copyFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { UsageError } from '../../src/errors/usage.ts';
import { restoreState } from '../../src/operations/restore-state.ts';
import { checkpointSigner } from '../../src/publish/log-act.ts';
import { makeSnapshotKey } from '../../src/signing/keys/snapshot-key.ts';
import { nextCounter } from '../../src/store/channels.ts';
import { recordAct } from '../../src/store/log.ts';
import { checkLog, showLog } from '../../src/store/log-reader.ts';
import { openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { actOf } from '../store/logs.ts';
import { copyOf } from '../store/states.ts';
import { refused } from '../trust/judge.ts';

const folder = await temporaryFolder();
let states = 0;

/** A state with a key of its own and a log of so many entries. */
async function newState(entries: number) {
  const state = join(folder, `state-${++states}`);
  await (await openState(state)).release();
  const sign = checkpointSigner(await makeSnapshotKey(state, 'state', NOW, 2048));
  const grow = async (from: number, to: number) => {
    for (let index = from; index < to; index += 1) await recordAct(state, actOf(index), sign);
  };
  await grow(0, entries);
  const keep = async () => {
    const kept = join(folder, `checkpoint-${++states}`);
    await copyFile(join(state, 'log/checkpoint'), kept);
    return kept;
  };
  const backup = () => copyOf(state, join(folder, `backup-${++states}`));
  return { state, grow, keep, backup };
}

const now = NOW + 100_000;

it('goes on above what others saw: counters, and the size of the log', async () => {
  const { grow, keep, backup } = await newState(3);
  const state = backup();
  await grow(3, 7);
  const checkpoint = await keep();
  const { lost, size, changed } = await restoreState({ state, after: 41, checkpoint, now });
  assert.deepEqual([lost, size, changed], [4, 8, true]);
  assert.equal(await nextCounter(state, 'any'), 42);
  const entries = await showLog({ state });
  assert.deepEqual(
    entries.slice(3).map(({ act, counter }) => [act, counter]),
    [['restore-state', 41], ...Array.from({ length: 4 }, () => ['lost', undefined])],
  );
  assert.match(entries[3]?.origin ?? '', /^log [0-9a-f]{32}, size 7, root [0-9a-f]{64}$/);
  assert.equal((await checkLog({ state, now })).size, 8);
  await assert.rejects(
    checkLog({ state, now, since: checkpoint }),
    refused('drifted', /entry 3 says that the log was restored/),
  );
  // What others saw of it before the backup was made still holds.
  assert.equal((await restoreState({ state, after: 41, checkpoint, now })).changed, false);
});

it('a log that has lost nothing says only that it was restored', async () => {
  const { state, keep } = await newState(3);
  const checkpoint = await keep();
  const { lost, size } = await restoreState({ state, after: 9, checkpoint, now });
  assert.deepEqual([lost, size], [0, 4]);
  assert.equal((await checkLog({ state, now, since: checkpoint })).size, 4);
});

it('is not talked into anything by a checkpoint that is not this log’s', async () => {
  const { state, grow, keep, backup } = await newState(3);
  const other = await newState(5);
  const foreign = await other.keep();
  await assert.rejects(
    restoreState({ state, after: 9, checkpoint: foreign, now }),
    refused('untrusted-signer'),
  );
  // The same log, which went two ways: it is no earlier state of the other.
  const fork = backup();
  await grow(3, 5);
  const checkpoint = await keep();
  await restoreState({ state: fork, after: 9, checkpoint, now });
  await grow(5, 8);
  await assert.rejects(
    restoreState({ state, after: 9, checkpoint: await forked(fork), now }),
    refused('drifted', /it is no earlier state of it/),
  );
  await writeFile(checkpoint, 'no checkpoint');
  await assert.rejects(restoreState({ state, after: 9, checkpoint, now }), refused('malformed'));
  await assert.rejects(restoreState({ state, after: 0, checkpoint, now }), UsageError);
  assert.deepEqual(
    (await showLog({ state })).map(({ act }) => act),
    Array.from({ length: 8 }, () => 'publish'),
  );
  assert.equal(await nextCounter(state, 'any'), 1);
});

async function forked(state: string): Promise<string> {
  const to = join(folder, `forked-${++states}`);
  await copyFile(join(state, 'log/checkpoint'), to);
  return to;
}
