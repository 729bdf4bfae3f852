import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { it } from 'node:test';
import { UsageError } from '../../../src/errors/usage.ts';
import { encodeReleaseList } from '../../../src/formats/records/release-list.ts';
import { collectObjects } from '../../../src/store/collect.ts';
import { objectKey } from '../../../src/store/objects.ts';
import { bucketOf } from '../../../src/store/s3/buckets.ts';
import { openState } from '../../../src/store/state.ts';
import { NOW } from '../../fixtures/keys.ts';
import { refused } from '../../trust/judge.ts';
import { stubState } from './stubs.ts';

const DAY = 86_400_000;
const { stub } = await stubState();
const digest = (text: string) => createHash('sha256').update(text).digest('hex');

let states = 0;
/** A state in which each of these texts is an object, written at `NOW`. */
async function stateWith(...texts: readonly string[]) {
  const name = `collect-${++states}`;
  const state = `s3://lab/${name}`;
  const bucket = bucketOf(state);
  assert.ok(bucket);
  await (await openState(state)).release();
  const write = (text: string, time: number) => {
    const object = stub.set(`${name}/${objectKey(digest(text))}`, Buffer.from(text));
    stub.objects.set(`${name}/${objectKey(digest(text))}`, { ...object, modified: new Date(time) });
  };
  for (const text of texts) write(text, NOW);
  const list = async (key: string, release: string, ...parts: readonly string[]) => {
    const files = parts.map((text) => ({ path: `boot/${text}`, size: text.length, sha256: digest(text) }));
    await bucket.put(key, encodeReleaseList({ release, files }));
  };
  const there = (text: string) => stub.objects.has(`${name}/${objectKey(digest(text))}`);
  return { state, bucket, name, write, list, there };
}

const numbers = ({ marked, waiting, deleted }: Awaited<ReturnType<typeof collectObjects>>) => [
  marked.length,
  waiting.length,
  deleted.length,
];

it('what no list names goes seven days after it was marked, and what one names stays', async () => {
  const { state, list, there } = await stateWith('served', 'aside', 'kept', 'staged', 'old-1', 'old-2');
  await list('lists/arch/3', 'arch/3', 'served');
  await list('quarantine/arch/2/list', 'arch/2', 'aside');
  await list('provenance/arch/2/quarantined/before-1/list', 'arch/2', 'kept');
  await list(`change/${'a'.repeat(64)}`, 'arch/3', 'staged');
  assert.deepEqual(numbers(await collectObjects({ state, now: NOW, dryRun: true })), [2, 0, 0]);
  assert.deepEqual(numbers(await collectObjects({ state, now: NOW })), [2, 0, 0]);
  assert.deepEqual(numbers(await collectObjects({ state, now: NOW + 7 * DAY - 1000 })), [0, 2, 0]);
  assert.deepEqual(numbers(await collectObjects({ state, now: NOW + 7 * DAY, dryRun: true })), [0, 0, 2]);
  assert.ok(there('old-1') && there('old-2'));
  assert.deepEqual(numbers(await collectObjects({ state, now: NOW + 7 * DAY })), [0, 0, 2]);
  assert.ok(!there('old-1') && !there('old-2'));
  for (const text of ['served', 'aside', 'kept', 'staged']) assert.ok(there(text), text);
  assert.deepEqual(numbers(await collectObjects({ state, now: NOW + 30 * DAY })), [0, 0, 0]);
});

it('what was written again after its mark is new, also when that is between the list and the end', async () => {
  const { state, write, there, name } = await stateWith('a', 'b');
  await collectObjects({ state, now: NOW });
  write('a', NOW + 6 * DAY);
  const key = `${name}/${objectKey(digest('b'))}`;
  stub.trick = (request) => {
    // Right before it is looked at for the last time, a publisher wants it.
    if (request.method === 'HEAD' && request.key === key) write('b', NOW + 8 * DAY);
    return false;
  };
  assert.deepEqual(numbers(await collectObjects({ state, now: NOW + 8 * DAY })), [1, 0, 0]);
  stub.trick = () => false;
  assert.ok(there('a') && there('b'));
});

it('a list that is taken to quarantine, or back, while it is looked for, keeps its objects', async () => {
  for (const [from, to] of [
    ['lists/arch/1', 'quarantine/arch/1/list'],
    ['quarantine/arch/1/list', 'lists/arch/1'],
  ] as const) {
    const { state, bucket, name, list, there } = await stateWith('a');
    await collectObjects({ state, now: NOW });
    await list(from, 'arch/1', 'a');
    const read = (request: { method: string; query: URLSearchParams }) =>
      request.method === 'GET' && request.query.get('prefix') === `${name}/quarantine/`;
    stub.trick = async (request) => {
      if (!read(request)) return false;
      stub.trick = () => false;
      await list(to, 'arch/1', 'a');
      const record = await bucket.get(from);
      await bucket.compareAndSwap(from, record?.version, undefined);
      return false;
    };
    assert.deepEqual(numbers(await collectObjects({ state, now: NOW + 8 * DAY })), [0, 0, 0]);
    assert.ok(there('a'));
  }
});

it('a list that nobody can read ends the run, and nothing goes', async () => {
  const { state, bucket, there } = await stateWith('a');
  await collectObjects({ state, now: NOW });
  await bucket.put('lists/arch/1', Buffer.from('bootseal-list 2\n'));
  await assert.rejects(collectObjects({ state, now: NOW + 8 * DAY }), refused('malformed', /lists\/arch\/1/));
  assert.ok(there('a'));
});

it('marks that are not ours are refused', async () => {
  const { state, bucket, there } = await stateWith('a');
  await bucket.put('collect.json', Buffer.from(`{"marked":{"${digest('a')}":"2020-01-01T00:00:00Z"}}`));
  await assert.rejects(collectObjects({ state, now: NOW }), refused('malformed', /collect\.json/));
  assert.ok(there('a'));
});

it('of two collectors at once one says so', async () => {
  const { state, bucket } = await stateWith('a');
  stub.trick = async (request) => {
    if (request.method !== 'PUT' || !request.key.endsWith('/collect.json')) return false;
    stub.trick = () => false;
    await bucket.putIfAbsent('collect.json', Buffer.from('another'));
    return false;
  };
  await assert.rejects(collectObjects({ state, now: NOW }), UsageError);
});

it('a bucket without a state is a mistake', async () => {
  await assert.rejects(collectObjects({ state: 's3://lab/nothing-here', now: NOW }), UsageError);
  await assert.rejects(
    collectObjects({ state: 's3://lab/nothing-here', now: NOW, dryRun: true }),
    UsageError,
  );
});
