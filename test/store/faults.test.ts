// First: what it patches must be patched before anything imports it.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { IoError } from '../../src/errors/io.ts';
import { channelHistory, channelNames, nextCounter, readChannel } from '../../src/store/channels.ts';
import { collectObjects } from '../../src/store/collect.ts';
import { finishChange } from '../../src/store/journal.ts';
import { recordAct } from '../../src/store/log.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { readCountersignatures, readProvenance } from '../../src/store/provenance.ts';
import { quarantinedReleases, readQuarantined, storedReleases } from '../../src/store/quarantine.ts';
import { openState } from '../../src/store/state.ts';
import { withdrawnReason, writeWithdrawal } from '../../src/store/withdrawals.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { type Fault, onDisk } from './faulty-disk.ts';
import { bringBack, CHANNEL, change, copyOf, publishTo, putAway, releaseOf } from './states.ts';

const folder = await temporaryFolder();
const ORIGINAL = join(folder, 'original');
const GONE = releaseOf(3);
const withdrawal = { release: GONE, manifest: '', time: NOW, reason: 'It eats disks.', now: false };

await (await openState(ORIGINAL)).release();
for (const number of [1, 2, 3]) await publishTo(ORIGINAL, releaseOf(number));
await putAway(ORIGINAL, releaseOf(1));
await writeWithdrawal(ORIGINAL, withdrawal);

let copies = 0;
const copy = () => copyOf(ORIGINAL, join(folder, `copy-${++copies}`));

/** What a state says of itself. */
async function toldBy(state: string) {
  const entries: string[] = [];
  await readLogEntries(state, ({ bytes }) => void entries.push(Buffer.from(bytes).toString()));
  return {
    channels: await channelNames(state),
    current: (await readChannel(state, CHANNEL))?.snapshot.counter,
    history: (await channelHistory(state, CHANNEL)).map(({ snapshot }) => [
      snapshot.counter,
      snapshot.releases[0]?.release,
    ]),
    next: await nextCounter(state, CHANNEL),
    stored: await storedReleases(state),
    quarantined: await quarantinedReleases(state),
    reasons: await Promise.all([1, 2, 3].map((number) => readQuarantined(state, releaseOf(number)))),
    origins: (await readProvenance(state, releaseOf(1)))?.ingests.length,
    countersigned: (await readCountersignatures(state, releaseOf(1))).length,
    withdrawn: (await withdrawnReason(state, GONE))?.reason,
    entries: entries.length,
  };
}
const told = await toldBy(ORIGINAL);

/** Snapshots and releases by path. What was there stays, whatever happens. */
function kept(state: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const name of readdirSync(join(state, 'channels', CHANNEL), { recursive: true, encoding: 'utf8' })) {
    if (/\/snapshot/.test(name))
      found.set(name, readFileSync(join(state, 'channels', CHANNEL, name), 'latin1'));
  }
  return found;
}
const before = kept(ORIGINAL);

const CODES = ['EIO', 'EMFILE', 'EACCES', 'ENOSPC'] as const;
type Code = Fault['code'];

/** Every kind at every call. */
const every = (): readonly Code[] => CODES;
/** One kind at each call, in turn: each costs a copy of the state. */
const inTurn = (index: number): readonly Code[] => CODES.slice(index % CODES.length).slice(0, 1);

/** Tries an act with each fault at each call that it makes. */
async function eachFault(
  prepare: () => Promise<string> | string,
  act: (state: string) => Promise<unknown>,
  kinds: (index: number) => readonly Code[],
  judge: (
    state: string,
    fault: Fault & { name: string },
    result: { answer: unknown; error: unknown },
  ) => Promise<void>,
): Promise<number> {
  const { calls, error } = await onDisk(undefined, async () => act(await prepareOutside(prepare)));
  assert.equal(error, undefined);
  let tried = 0;
  for (const [index, name] of calls.entries()) {
    const partial = /handle\.(read|readFile|write)$/.test(name);
    for (const code of partial ? [...kinds(index), 'short' as const] : kinds(index)) {
      const state = await prepareOutside(prepare);
      const fault = { at: index + 1, code };
      const result = await onDisk(fault, () => act(state));
      await judge(state, { ...fault, name }, result);
      tried += 1;
    }
  }
  return tried;
}

const prepareOutside = async (prepare: () => Promise<string> | string) => prepare();

describe('each fault at each call of the disk', () => {
  it('reading a state: the same answer as without the fault, or an I/O error; never "none"', async () => {
    const tried = await eachFault(
      () => ORIGINAL,
      toldBy,
      every,
      async (_, fault, { answer, error }) => {
        const what = JSON.stringify(fault);
        if (error === undefined) assert.deepEqual(answer, told, what);
        else assert.ok(error instanceof IoError, `${what}: ${error}`);
      },
    );
    assert.ok(tried > 300, `${tried} faults`);
  });

  const acts: [string, (state: string) => Promise<unknown>][] = [
    ['opening', async (state) => (await openState(state)).release()],
    ['publishing', (state) => publishTo(state, releaseOf(4))],
    ['putting a release in quarantine', (state) => putAway(state, releaseOf(2))],
    ['taking one back', (state) => bringBack(state, releaseOf(1))],
    ['signing one anew', (state) => change(state, releaseOf(3))],
    ['logging', (state) => recordAct(state, { time: NOW, act: 'refuse', release: releaseOf(2) })],
    ['withdrawing', (state) => writeWithdrawal(state, { ...withdrawal, now: true })],
    ['collecting', (state) => collectObjects({ state, now: NOW })],
  ];
  for (const [name, act] of acts) {
    it(`${name}: done, or an I/O error after which it can be done`, async () => {
      const tried = await eachFault(copy, act, inTurn, async (state, fault, { error }) => {
        const what = JSON.stringify(fault);
        if (error !== undefined) assert.ok(error instanceof IoError, `${what}: ${error}`);
        // History is what it was, and perhaps longer.
        const now = kept(state);
        for (const [path, text] of before) assert.equal(now.get(path), text, `${what}: ${path}`);
        // The old state or the new, once whoever comes next has done what was left undone.
        await finishChange(state);
        const after = await toldBy(state);
        assert.ok([told.current, told.next].includes(after.current), what);
        assert.deepEqual(after.history.slice(0, told.history.length), told.history, what);
        assert.ok(after.entries >= told.entries, what);
        if (error !== undefined) await act(state);
      });
      assert.ok(tried >= 10, `${tried} faults`);
    });
  }
});
