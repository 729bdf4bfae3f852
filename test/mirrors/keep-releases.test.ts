import assert from 'node:assert/strict';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { keepReleases } from '../../src/mirrors/keep-releases.ts';
import { pull } from '../../src/mirrors/pull.ts';
import { collectObjects } from '../../src/store/collect.ts';
import { readWaiting } from '../../src/store/log-waiting.ts';
import { misused } from '../fixtures/failed.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { makeUpstream } from '../fixtures/upstream.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const upstream = await makeUpstream(join(folder, 'upstream'));
const state = join(folder, 'mirror');

it('the newest stay, and whatever a snapshot names that has not ended', async () => {
  for (const [day, version] of ['2026.11.01', '2026.11.02', '2026.11.03'].entries()) {
    const now = NOW + day * DAY;
    await upstream.publish(version, { now });
    const { refusal } = await pull({
      ...{ state, channel: 'stable', sources: [upstream.state], anchors: upstream.anchors },
      now: now + 1000,
    });
    assert.equal(refusal, undefined);
  }
  const releases = () => readdir(join(state, 'releases/arch'));
  assert.deepEqual(await keepReleases({ state, keep: 0, now: NOW + 3 * DAY }), []);
  // The first snapshot ended after seven days; one old release may stay.
  assert.deepEqual(await keepReleases({ state, keep: 1, now: NOW + 7.5 * DAY }), []);
  assert.deepEqual(await keepReleases({ state, keep: 0, now: NOW + 7.5 * DAY }), ['arch/2026.11.01']);
  assert.deepEqual(await releases(), ['2026.11.02', '2026.11.03']);
  // What the channel is at never goes, however old its snapshot.
  assert.deepEqual(await keepReleases({ state, keep: 0, now: NOW + 99 * DAY }), ['arch/2026.11.02']);
  assert.deepEqual(await releases(), ['2026.11.03']);
  const acts: string[] = [];
  await readWaiting(state, ({ act, release }) => acts.push(`${act} ${release}`));
  assert.deepEqual(acts.slice(-2), ['remove arch/2026.11.01', 'remove arch/2026.11.02']);
  // The content waits for the collector.
  const { marked } = await collectObjects({ state, now: NOW + 99 * DAY });
  assert.ok(marked.length > 0);
});

it('what was published here is not the pull’s to take away, and a bucket is left alone', async () => {
  const now = NOW + 99 * DAY;
  await upstream.seal('2026.11.09');
  assert.deepEqual(await keepReleases({ state: upstream.state, keep: 0, now }), []);
  await assert.rejects(keepReleases({ state: 's3://bucket/x', keep: 0, now }), misused(/in a bucket/));
});
