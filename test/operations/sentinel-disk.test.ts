// First: what it patches must be patched before anything imports it.

import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { type Fault, type Finding, scrubStore } from '../../src/operations/sentinel.ts';
import { openState } from '../../src/store/state.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { onDisk } from '../store/faulty-disk.ts';
import { CHANNEL, publishTo, releaseOf } from '../store/states.ts';

/** `npm test -- long` */
const LONG = process.env.BOOTSEAL_LONG_TESTS !== undefined;
const folder = await temporaryFolder();
const state = join(folder, 'state');
await (await openState(state)).release();
await publishTo(state, releaseOf(1));

async function scrub() {
  const findings: Finding[] = [];
  const faults: Fault[] = [];
  await scrubStore({
    state,
    clock: () => NOW,
    onFinding: (finding) => void findings.push(finding),
    onFault: (fault) => void faults.push(fault),
  });
  return { findings, faults };
}

it('whatever call to the disk fails, that is no drift: nothing is moved, and it is said', async () => {
  const listed = () => readdirSync(state, { recursive: true, encoding: 'utf8' }).sort();
  const before = listed();
  // The snapshots here are signed by nobody, which is found each time and is no file's.
  const { answer, calls } = await onDisk(undefined, scrub);
  const usual = answer?.findings.map(({ path }) => path);
  assert.deepEqual([usual, answer?.faults], [[`channels/${CHANNEL}`], []]);
  for (const [index, name] of calls.entries()) {
    // A part of them, each with one error, unless all are asked for.
    const codes = LONG
      ? (['EIO', 'EMFILE'] as const)
      : index % 4 > 0
        ? []
        : index % 8 > 0
          ? (['EIO'] as const)
          : (['EMFILE'] as const);
    for (const code of codes) {
      const { answer: got, error } = await onDisk({ at: index + 1, code }, scrub);
      if (error !== undefined)
        assert.ok(error instanceof IoError, `${name} ${index}: ${(error as Error).stack}`);
      else
        assert.deepEqual(
          got?.findings.map(({ path }) => path),
          usual,
          `${name} ${index}`,
        );
    }
  }
  assert.deepEqual(listed(), before);
});
