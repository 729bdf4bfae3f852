/**
 * Signing a whole store anew: how long, and what of it is ours.
 *
 *     node dist/bench/resign.js [RELEASES]
 *
 * The payload is small: none of it is read. Everything lies in one temporary folder.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rotateKeys } from '../src/operations/keys-rotate.ts';
import { resignStore } from '../src/resigning/store.ts';
import { makeKeys, NOW } from '../test/fixtures/keys.ts';
import { addReleases, faultOf, LATER, lost, snapshotOf } from '../test/resigning/stores.ts';

const folder = await mkdtemp(join(tmpdir(), 'bootseal-bench-'));
try {
  await main(Number(process.argv[2] ?? 1251));
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function main(releases: number): Promise<void> {
  const keys = await makeKeys(join(folder, 'keys'), { kind: 'p256' });
  const next = join(folder, 'next');
  await rotateKeys({ keys, out: next, now: NOW + 1000 });
  const state = join(folder, 'state');
  const wishes = Array.from({ length: releases }, (_, at) => ({
    release: `lab/2026.11.01-${at}`,
    serial: 2026110100 + at,
    named: at === releases - 1,
  }));
  await timed(`making ${releases} releases`, releases, () =>
    addReleases(state, join(folder, 'trees'), keys, wishes),
  );
  const before = snapshotOf(state);
  for (const [what, given] of [
    ['the same keys', { keys, now: LATER }],
    ['once more, nothing to do', { keys, now: LATER, issued: LATER }],
    ['mapped keys', { keys: next, now: LATER + 1000 }],
    ['past best-before, new leaves', { keys: next, now: LATER + 200 * 86_400_000 }],
  ] as const) {
    await timed(what, releases, async () => {
      const { rows } = await resignStore({ ...given, state, rsaBits: 2048 });
      console.log([...new Set(rows.map(({ outcome }) => outcome))].join());
    });
  }
  console.log('lost:', lost(before, state).length);
  console.log('fault:', (await faultOf(state, [next], LATER + 200 * 86_400_000)) ?? 'none');
}

async function timed(what: string, count: number, work: () => Promise<unknown>): Promise<void> {
  const begun = performance.now();
  await work();
  const seconds = (performance.now() - begun) / 1000;
  console.log(`${what}: ${seconds.toFixed(1)} s, ${((seconds * 1000) / count).toFixed(1)} ms each`);
}
