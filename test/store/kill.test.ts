import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { channelHistory, readChannel } from '../../src/store/channels.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { quarantinedReleases, readQuarantined, storedReleases } from '../../src/store/quarantine.ts';
import { openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import {
  bringBack,
  CHANNEL,
  change,
  copyOf,
  publishTo,
  putAway,
  releaseOf,
  snapshotOf,
  store,
} from './states.ts';

const CHILD = fileURLToPath(new URL('kill-child.js', import.meta.url));
const folder = await temporaryFolder();
const ORIGINAL = join(folder, 'original');

await (await openState(ORIGINAL)).release();
await publishTo(ORIGINAL, releaseOf(1));
await store(ORIGINAL, releaseOf(2));
await putAway(ORIGINAL, releaseOf(2));
await store(ORIGINAL, releaseOf(4));

async function child(state: string, act: string, at?: number) {
  const process_ = spawn(process.execPath, [CHILD, state, act, ...(at === undefined ? [] : [String(at)])], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let said = '';
  process_.stdout.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  const [code, signal] = await once(process_, 'close');
  return { code, signal, steps: Number(said) };
}

/** Each release that is anywhere, whole; and how the channel stands. */
async function judge(
  state: string,
  what: string,
): Promise<{ stored: string[]; away: string[]; current: number }> {
  const stored = await storedReleases(state);
  const away: string[] = [];
  for (const release of await quarantinedReleases(state)) {
    if ((await readQuarantined(state, release))?.held === false) away.push(release);
  }
  const places = [
    ...stored.map((release) => join(state, 'releases', release)),
    ...away.map((release) => join(state, 'quarantine', release, 'release')),
  ];
  for (const place of places) {
    for (const path of ['release.manifest', 'boot/vmlinuz', 'boot/vmlinuz.sig'])
      assert.ok(readFileSync(join(place, path)).length > 0, `${what}: ${place}/${path}`);
  }
  const current = await readChannel(state, CHANNEL);
  const manifest = readFileSync(
    join(state, 'releases', current?.snapshot.releases[0]?.release ?? '', 'release.manifest'),
  );
  assert.ok(manifest.length > 0, what);
  assert.deepEqual((await channelHistory(state, CHANNEL))[0]?.bytes, Buffer.from(snapshotOf(1).bytes), what);
  await readLogEntries(state, () => {});
  return { stored, away, current: current?.snapshot.counter ?? 0 };
}

const acts: Record<string, (state: string) => Promise<unknown>> = {
  publish: (state) => publishTo(state, releaseOf(3)),
  'put away': (state) => putAway(state, releaseOf(4)),
  'take back': (state) => bringBack(state, releaseOf(2)),
  change: (state) => change(state, releaseOf(1)),
};

for (const [act, again] of Object.entries(acts)) {
  it(`${act}, killed after each step: the old state or the new, and it can be done then`, async () => {
    const whole = copyOf(ORIGINAL, join(folder, `${act.replace(' ', '-')}-whole`));
    const { steps } = await child(whole, act);
    assert.ok(steps >= 3, `${steps} steps`);
    const [old, done] = [await judge(ORIGINAL, 'before'), await judge(whole, 'after')];
    for (let at = 1; at <= steps; at += 1) {
      const what = `${act}, step ${at}`;
      const state = copyOf(ORIGINAL, join(folder, `${act.replace(' ', '-')}-${at}`));
      assert.equal((await child(state, act, at)).signal, 'SIGKILL', what);
      // What a crash left undone is done by whoever opens the state.
      await (await openState(state)).release();
      const told = await judge(state, what);
      for (const part of ['stored', 'away', 'current'] as const) {
        assert.ok(
          [old, done].some((one) => JSON.stringify(one[part]) === JSON.stringify(told[part])),
          `${what}: ${JSON.stringify(told)}`,
        );
      }
      await again(state);
      const { stored, away } = await judge(state, what);
      assert.deepEqual([stored, away], [done.stored, done.away], what);
    }
  });
}
