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
    for (const code of ['EIO', 'EMFILE'] as const) {
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
