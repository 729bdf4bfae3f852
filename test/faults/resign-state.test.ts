import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { resignStore } from '../../src/resigning/store.ts';
import { readChannel } from '../../src/store/channels.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { addReleases, CHANNEL, faultOf, LATER } from '../resigning/stores.ts';
import { copier } from './copies.ts';
import { demandFaultless } from './suite.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const site = join(folder, 'site');
await mkdir(site);
await addReleases(join(site, 'state'), join(folder, 'trees'), keys, [
  { release: 'lab/2026.11.01', named: true },
]);

await demandFaultless({
  'resign, of a state': {
    depth: 1,
    amongOthers: true,
    copy: copier(folder, site),
    run: async (at) => {
      const request = { state: join(at, 'state'), keys, issued: LATER, now: LATER, rsaBits: 2048 };
      const { rows } = await resignStore(request);
      return rows.map(({ release, outcome, refusal }) => ({ release, outcome, refusal }));
    },
    demandDone: async (at) => {
      const state = join(at, 'state');
      assert.equal(await faultOf(state, [keys], LATER), undefined);
      assert.ok(((await readChannel(state, CHANNEL))?.snapshot.counter ?? 0) >= 2);
    },
    // The log grows by what is tried; what a batch wishes stands there until it ends.
    ignore: /^state\/(log(\/|$)|lock$|resign\.json$)/,
  },
});
