import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { StubRequest } from '../../lab/s3-stub.ts';
import { Refusal } from '../../src/errors/refusal.ts';
import { UsageError } from '../../src/errors/usage.ts';
import { decodeReleaseList } from '../../src/formats/records/release-list.ts';
import { channelHistory, readChannel } from '../../src/store/channels.ts';
import { readLogEntries } from '../../src/store/log-proof.ts';
import { objectKey } from '../../src/store/objects.ts';
import { readProvenance } from '../../src/store/provenance.ts';
import { quarantinedReleases, readQuarantined, storedReleases } from '../../src/store/quarantine.ts';
import { openState } from '../../src/store/state.ts';
import { stubState } from './s3/stubs.ts';
import {
  bringBack,
  CHANNEL,
  change,
  publishTo,
  putAway,
  releaseOf,
  sha256,
  snapshotOf,
  store,
} from './states.ts';

/*
 * A bucket has no lock. A writer may die between any two of its requests, and another may come between them: what is there
 * then is the old state or the new, and of two who move one channel one wins.
 */

const { stub } = await stubState();
const ORIGINAL = 's3://lab/original';

await (await openState(ORIGINAL)).release();
await publishTo(ORIGINAL, releaseOf(1));
await store(ORIGINAL, releaseOf(2));
await putAway(ORIGINAL, releaseOf(2));
await store(ORIGINAL, releaseOf(4));

/** What a state holds, by its keys. */
type Held = ReadonlyMap<string, Uint8Array>;

const prefixOf = (state: string) => `${state.slice('s3://lab/'.length)}/`;

function heldBy(state: string): Held {
  const prefix = prefixOf(state);
  const keys = [...stub.objects].filter(([key]) => key.startsWith(prefix));
  return new Map(keys.map(([key, { bytes }]) => [key.slice(prefix.length), bytes]));
}

const original = heldBy(ORIGINAL);

let states = 0;
function stateWith(held: Held): string {
  const state = `s3://lab/state-${++states}`;
  for (const [key, bytes] of held) stub.set(prefixOf(state) + key, bytes);
  return state;
}

/**
 * Whether a request writes to a state, and when that is done tells something: files of a release are all alike, and what an
 * engine keeps of conditions is asked once by a process, here by both at once: the one would wait for the other.
 */
function isTelling({ key, method }: StubRequest, state: string): boolean {
  const own = key.startsWith(prefixOf(state)) ? key.slice(prefixOf(state).length) : 'objects/';
  return ['PUT', 'DELETE'].includes(method) && !/^(objects|log)\/|^probe-|^releases\/.*\.sig$/.test(own);
}

interface Told {
  readonly stored: readonly string[];
  readonly away: readonly string[];
  readonly current: number;
  /** Of the release that the first snapshot named. */
  readonly manifest: string;
}

/** Each release that is anywhere, whole; and how the channel stands. */
async function judge(state: string, what: string, copies = true): Promise<Told> {
  const stored = await storedReleases(state);
  const away: string[] = [];
  for (const release of await quarantinedReleases(state))
    if ((await readQuarantined(state, release))?.held === false) away.push(release);
  const held = heldBy(state);
  const bytesOf = (key: string) => Buffer.from(held.get(key) ?? []);
  const lists = [
    ...stored.map((release) => `lists/${release}`),
    ...away.map((release) => `quarantine/${release}/list`),
  ];
  let manifest = '';
  for (const key of lists) {
    const { release, files } = decodeReleaseList(bytesOf(key));
    assert.equal(files.length, 3, `${what}: ${key}`);
    for (const { path, size, sha256: digest } of files) {
      const bytes = bytesOf(objectKey(digest));
      assert.deepEqual([bytes.length, sha256(bytes)], [size, digest], `${what}: ${key}: ${path}`);
      if (copies && key.startsWith('lists/'))
        assert.deepEqual(bytesOf(`releases/${release}/${path}`), bytes, `${what}: the copy of ${path}`);
      if (release === releaseOf(1) && path === 'release.manifest') manifest = bytes.toString();
    }
  }
  const current = await readChannel(state, CHANNEL);
  assert.ok(stored.includes(current?.snapshot.releases[0]?.release ?? ''), what);
  const [first] = await channelHistory(state, CHANNEL);
  assert.ok(first && Buffer.compare(first.bytes, snapshotOf(1).bytes) === 0, what);
  await readLogEntries(state, () => {});
  return { stored, away, current: current?.snapshot.counter ?? 0, manifest };
}

const ACTS: Record<string, (state: string) => Promise<unknown>> = {
  publish: (state) => publishTo(state, releaseOf(3)),
  'put away': (state) => putAway(state, releaseOf(4)),
  'take back': (state) => bringBack(state, releaseOf(2)),
  change: (state) => change(state, releaseOf(1)),
};

describe('a writer that died after a request', () => {
  for (const [act, again] of Object.entries(ACTS)) {
    it(`${act}: the old state or the new, and it can be done then`, async () => {
      const whole = stateWith(original);
      // Requests are made one after the other: what is there before each is what a dead writer leaves.
      const left: Held[] = [];
      stub.trick = (request) => {
        if (isTelling(request, whole)) left.push(heldBy(whole));
        return false;
      };
      await again(whole);
      stub.trick = () => false;
      assert.ok(left.length >= 4, `${left.length} writes`);
      const [old, done] = [await judge(ORIGINAL, 'before'), await judge(whole, 'after')];
      assert.notDeepEqual(old, done);
      for (const [at, held] of left.entries()) {
        const what = `${act}, before write ${at + 1}`;
        const state = stateWith(held);
        // What a crash left undone is done by whoever opens the state.
        await (await openState(state)).release();
        // For web clients the copies are whole again once it was done again; nothing here reads them.
        const told = await judge(state, what, false);
        for (const part of ['stored', 'away', 'current', 'manifest'] as const) {
          assert.ok(
            [old, done].some((one) => JSON.stringify(one[part]) === JSON.stringify(told[part])),
            `${what}: ${JSON.stringify(told)}`,
          );
        }
        await again(state);
        const { stored, away, manifest } = await judge(state, what);
        assert.deepEqual([stored, away, manifest], [done.stored, done.away, done.manifest], what);
      }
    });
  }
});

type Outcome = { readonly won: true } | { readonly won: false; readonly error: unknown };

function outcomeOf(work: Promise<unknown>): Promise<Outcome> {
  return work.then(
    () => ({ won: true }),
    (error: unknown) => ({ won: false, error }),
  );
}

/** Lets `other` do all of its work before the request of `one` that has this number; undefined: it has fewer. */
async function between(
  state: string,
  number: number,
  one: () => Promise<unknown>,
  other: () => Promise<unknown>,
): Promise<readonly [Outcome, Outcome] | undefined> {
  let asked = 0;
  let second: Promise<Outcome> | undefined;
  stub.trick = async (request) => {
    const looks = request.key === `${prefixOf(state)}channels/${CHANNEL}/current`;
    if (!(looks || isTelling(request, state)) || second || ++asked !== number) return false;
    second = outcomeOf(other());
    await second;
    return false;
  };
  const first = await outcomeOf(one());
  stub.trick = () => false;
  return second && [first, await second];
}

const PAIRS: Record<string, readonly [(state: string) => Promise<unknown>, typeof publishTo]> = {
  'two that publish': [(state) => publishTo(state, releaseOf(3)), publishTo],
  'one that signs anew, one that publishes': [(state) => change(state, releaseOf(1)), publishTo],
};

describe('two writers of one channel, the one between two requests of the other', () => {
  for (const [pair, [one, other]] of Object.entries(PAIRS)) {
    it(`${pair}: who loses is told so, and the channel is the winner’s`, async () => {
      let lost = 0;
      let number = 1;
      for (; ; number += 1) {
        const what = `before request ${number}`;
        const state = stateWith(original);
        const outcomes = await between(
          state,
          number,
          () => one(state),
          () => other(state, releaseOf(5)),
        );
        if (!outcomes) break;
        const errors = outcomes.flatMap((outcome) => (outcome.won ? [] : [outcome.error]));
        lost += errors.length;
        assert.ok(errors.length < 2, `${what}: nobody won: ${errors.join(' ')}`);
        for (const error of errors)
          assert.ok(
            error instanceof UsageError || (error instanceof Refusal && error.code === 'rolled-back'),
            `${what}: ${error}`,
          );
        await (await openState(state)).release();
        await judge(state, what);
        const history = await channelHistory(state, CHANNEL);
        const named = history.map(({ snapshot }) => snapshot.releases[0]?.release);
        const firstNames = pair === 'two that publish' ? releaseOf(3) : releaseOf(1);
        const winners = [
          ...(outcomes[1].won ? [releaseOf(5)] : []),
          ...(outcomes[0].won ? [firstNames] : []),
        ];
        // Whoever won twice came one after the other, and each saw what was there before.
        assert.deepEqual(named.slice(1).sort(), winners.sort(), what);
        if (pair !== 'two that publish') {
          const resigned = (await readProvenance(state, releaseOf(1)))?.resigned ?? [];
          const { manifest } = await judge(state, what);
          const changed = manifest.startsWith('another');
          assert.deepEqual([changed, resigned.length], [outcomes[0].won, outcomes[0].won ? 1 : 0], what);
        }
      }
      assert.ok(number > 12, `${number} requests`);
      assert.ok(lost > 3, `${lost} lost`);
    });
  }
});

describe('a channel in a bucket', () => {
  it('goes on where two publishers died before it moved to what they had written', async () => {
    const state = stateWith(original);
    const left = [snapshotOf(2, releaseOf(3)), snapshotOf(3, releaseOf(4))];
    for (const { snapshot, bytes } of left)
      stub.set(`${prefixOf(state)}channels/${CHANNEL}/${snapshot.counter}/snapshot`, bytes);
    stub.set(`${prefixOf(state)}channels/${CHANNEL}/2.follows-1`, Buffer.alloc(0));
    assert.equal(await publishTo(state, releaseOf(5)), 4);
    const history = await channelHistory(state, CHANNEL);
    assert.deepEqual(
      history.map(({ snapshot }) => snapshot.counter),
      [1, 4],
    );
  });

  it('that somebody put back is told from one that never moved on', async () => {
    const state = stateWith(original);
    await publishTo(state, releaseOf(3));
    await publishTo(state, releaseOf(5));
    stub.set(`${prefixOf(state)}channels/${CHANNEL}/current`, Buffer.from('1\n'));
    await assert.rejects(publishTo(state, releaseOf(6)), /put it back/);
  });

  it('that lost a snapshot which counted is refused', async () => {
    const state = stateWith(original);
    await publishTo(state, releaseOf(3));
    await publishTo(state, releaseOf(5));
    stub.objects.delete(`${prefixOf(state)}channels/${CHANNEL}/2/snapshot`);
    stub.objects.delete(`${prefixOf(state)}channels/${CHANNEL}/2/snapshot.cms.sig`);
    await assert.rejects(channelHistory(state, CHANNEL), /Snapshot 2 of stable is missing/);
  });
});
