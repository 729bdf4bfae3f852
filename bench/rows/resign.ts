import { join } from 'node:path';
import { rotateKeys } from '../../src/operations/keys-rotate.ts';
import { resignStore } from '../../src/resigning/store.ts';
import { makeKeys, NOW } from '../../test/fixtures/keys.ts';
import { addReleases, faultOf, LATER, lost, snapshotOf } from '../../test/resigning/stores.ts';
import { seconds } from '../frame/compare.ts';
import type { Part } from '../frame/row.ts';

/** The cost of one is the same with four times as many: what Portage's mirror had at once, 1,251, takes five times as long. */
const RELEASES = 250;

/** Signing a whole store anew. The payload is small, and none of it is read. */
export const part: Part = {
  name: 'resign',
  rows: [
    {
      name: 'resign/same',
      job: `resign, of ${RELEASES} releases each, by the keys that signed them`,
      unit: 'ms',
    },
    { name: 'resign/nothing', job: 'the same once more, where nothing is to be done', unit: 'ms' },
    { name: 'resign/mapped', job: 'by keys that follow them by a map', unit: 'ms' },
    { name: 'resign/leaves', job: 'past best-before, with new leaves', unit: 'ms' },
  ],
  async run({ folder, quick, say, tell }) {
    const releases = quick ? 3 : RELEASES;
    const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
    const next = join(folder, 'next');
    await rotateKeys({ keys, out: next, now: NOW + 1000 });
    const state = join(folder, 'state');
    const wishes = Array.from({ length: releases }, (_, at) => ({
      release: `lab/2026.11.01-${at}`,
      serial: 2026110100 + at,
      named: at === releases - 1,
    }));
    say(`makes ${releases} releases`);
    await addReleases(state, join(folder, 'trees'), keys, wishes);
    const before = snapshotOf(state);
    for (const [row, given] of [
      ['resign/same', { keys, now: LATER }],
      ['resign/nothing', { keys, now: LATER, issued: LATER }],
      ['resign/mapped', { keys: next, now: LATER + 1000 }],
      ['resign/leaves', { keys: next, now: LATER + 200 * 86_400_000 }],
    ] as const) {
      say(row);
      const taken = await seconds(() => resignStore({ ...given, state, rsaBits: 2048 }));
      tell(row, { values: [(taken * 1000) / releases] });
    }
    if (lost(before, state).length > 0) throw new Error('something was lost');
    const fault = await faultOf(state, [next], LATER + 200 * 86_400_000);
    if (fault !== undefined) throw new Error(`the state does not hold: ${fault}`);
  },
};
