import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageError } from '../../src/errors/usage.ts';
import { renewChannel, rollbackChannel } from '../../src/publish/channel.ts';
import { signLog } from '../../src/publish/log-sign.ts';
import { publish } from '../../src/publish/publish.ts';
import { readChannel } from '../../src/store/channels.ts';
import { recordAct } from '../../src/store/log.ts';
import { readWaiting } from '../../src/store/log-waiting.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { KERNEL, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';
import { faultOf } from '../resigning/stores.ts';
import { copier } from './copies.ts';
import { demandFaultless } from './suite.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');
/** Trees are read and never changed by what is tried here; only the state is copied. */
const trees = join(folder, 'trees');
const site = join(folder, 'site');
const CHANNEL = { channel: 'stable', now: NOW, rsaBits: 2048 };

/** A sealed tree that passes the gate, as small as one can be. */
async function release(version: string): Promise<void> {
  const tree = await sampleTree(join(trees, version), keys);
  await writeFile(join(tree, 'arch/version'), `${version}\n`);
  await writeFile(join(tree, KERNEL), `kernel ${version}\0`);
  await writeFile(join(tree, ROOTFS), Buffer.alloc(4 * 4096, `hsqs ${version}`));
  await sealFixture(tree, keys);
}
const publishIn = (at: string, version: string) =>
  publish({ ...CHANNEL, tree: join(trees, version), state: join(at, 'state'), anchors });

await mkdir(site);
await release('2026.11.01');
await release('2026.11.02');
await publishIn(site, '2026.11.01');
const fresh = copier(folder, site);
const published = await fresh();
await publishIn(published, '2026.11.02');
/** With an entry of somebody who had no key. */
const waiting = await fresh();
await recordAct(join(waiting, 'state'), { time: NOW, act: 'policy' });

const demandCurrent = async (at: string, version: string, counter: number) => {
  const state = join(at, 'state');
  const current = await readChannel(state, 'stable');
  assert.equal(current?.snapshot.releases[0]?.release, `arch/${version}`);
  assert.ok((current?.snapshot.counter ?? 0) >= counter, 'a counter only grows');
  assert.equal(await faultOf(state, [keys], NOW), undefined);
  // What plain web servers give out is that, too, or it is on record that it is not.
  if (existsSync(join(state, 'web/behind'))) return;
  const shown = await readFile(join(state, 'www/channels/stable'));
  assert.deepEqual(shown, Buffer.from(current?.bytes ?? []));
};
const rollback = async (at: string) =>
  (await rollbackChannel({ ...CHANNEL, state: join(at, 'state'), anchors, release: 'arch/2026.11.01' }))
    .snapshot;
const unlessBackAlready = (error: unknown) => {
  if (!(error instanceof UsageError && / is at arch\/2026\.11\.01 already\./.test(error.message)))
    throw error;
};
/** The log grows by what is tried; a lock goes. */
const ignore = /^state\/(log(\/|$)|lock$)/;

await demandFaultless({
  publish: {
    // It asks every client.
    depth: 1,
    // What a kill leaves among objects and anchors waits for collecting.
    amongOthers: true,
    copy: fresh,
    run: async (at) => {
      const { refusal, moved, gates } = await publishIn(at, '2026.11.02');
      return { refusal, counter: moved?.snapshot.counter, gates: gates.map((row) => row.refusal?.code) };
    },
    demandDone: (at) => demandCurrent(at, '2026.11.02', 2),
    ignore,
  },

  renew: {
    depth: 1,
    amongOthers: true,
    copy: fresh,
    run: async (at) => (await renewChannel({ ...CHANNEL, state: join(at, 'state') })).snapshot,
    demandDone: (at) => demandCurrent(at, '2026.11.01', 2),
    ignore,
  },

  'sign the log': {
    depth: 1,
    amongOthers: true,
    copy: copier(folder, waiting),
    run: async (at) => (await signLog({ state: join(at, 'state') })).size,
    demandDone: async (at) => assert.equal((await readWaiting(join(at, 'state'))).count, 0),
    ignore,
  },

  rollback: {
    depth: 1,
    amongOthers: true,
    copy: copier(folder, published),
    run: rollback,
    demandDone: (at) => demandCurrent(at, '2026.11.01', 3),
    again: (at) => rollback(at).catch(unlessBackAlready),
    ignore,
  },
});
