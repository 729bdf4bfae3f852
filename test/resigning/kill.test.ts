import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { addReleases, copyStore, faultOf, LATER, lost, snapshotOf } from './stores.ts';

const CHILD = fileURLToPath(new URL('resign-child.js', import.meta.url));
const KILLS = 100;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const store = join(folder, 'store');
await addReleases(store, join(folder, 'trees'), keys, [
  { release: 'lab/2026.11.02', named: true },
  { release: 'fetched/2026.11.01', origin: 'https://mirror.example/' },
]);

function resign(state: string, issued: number, stop?: number) {
  const args = [
    CHILD,
    state,
    keys,
    String(issued),
    String(LATER),
    ...(stop === undefined ? [] : [String(stop)]),
  ];
  const { signal, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 60_000 });
  assert.equal(stderr, '');
  return {
    signal,
    said: stdout === '' ? undefined : (JSON.parse(stdout) as { steps: number; outcomes: string[] }),
  };
}

it(`killed ${KILLS} times at random moments, the store verifies after each and has lost nothing`, async () => {
  const whole = resign(copyStore(store, join(folder, 'whole')), LATER).said;
  assert.ok(whole && whole.steps > 100, 'there are steps to be killed at');
  for (let kills = 0; kills < KILLS; ) {
    const state = copyStore(store, join(folder, `killed-${kills}`));
    let before = snapshotOf(state);
    const demandSound = async (when: string) => {
      // The next writer, whoever it is, finishes what was begun.
      await (await openState(state)).release();
      assert.equal(await faultOf(state, [keys], LATER), undefined, when);
      assert.deepEqual(lost(before, state), [], when);
      before = snapshotOf(state);
    };
    // Ten times, each from where the one before was killed; then it is let through to its end.
    let left = whole.steps;
    for (const last = Math.min(KILLS, kills + 10); kills < last; ) {
      const stop = Math.floor(Math.random() * left);
      const { signal } = resign(state, LATER, stop);
      await demandSound(`kill ${kills}, at step ${stop}`);
      if (signal !== 'SIGKILL') break;
      kills += 1;
      left = Math.max(60, left - stop);
    }
    const { said } = resign(state, LATER);
    assert.ok(said?.outcomes.every((outcome) => ['kept', 'resigned', 'countersigned'].includes(outcome)));
    await demandSound('at the end');
  }
});
