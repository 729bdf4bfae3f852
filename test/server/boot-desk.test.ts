import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { SegmentBucket } from '../../src/boots/bucket-shelf.ts';
import type { Receipt } from '../../src/boots/receipt.ts';
import { nameOfTime } from '../../src/boots/segments.ts';
import { Shares } from '../../src/serve/shares.ts';
import { openBootDesk } from '../../src/server/boot-desk.ts';
import { DEFAULT_CONFIGURATION } from '../../src/server/configuration.ts';
import { SeenMachine } from '../fixtures/seen-boots.ts';
import { MemoryBackend } from '../store/memory-backend.ts';

const RELEASE = 'arch/2026.11.01';
const START = Date.UTC(2026, 10, 1);

/** The boots of a server at a bucket, whose seconds are told to it. */
async function deskAt(t: { after(work: () => unknown): void }, place: SegmentBucket) {
  let mono = 0;
  const said: string[] = [];
  const say = (_facts: object, message: string) => said.push(message);
  const desk = await openBootDesk({
    place,
    configuration: DEFAULT_CONFIGURATION,
    find: (_server, asked) =>
      asked === '/boot.ipxe'
        ? { stage: 'script', path: asked, begins: true }
        : { stage: 'kernel', path: asked, release: { release: RELEASE, needs: [], reports: true } },
    shares: new Shares(),
    clock: () => START + mono,
    monotonic: () => mono,
    log: { info: say, warn: say, error: say },
  });
  t.after(() => desk.close());
  await desk.loaded;
  const heard: Receipt[] = [];
  desk.boots.subscribe(({ receipt }) => heard.push(receipt));
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds; second += 1) {
      mono += 1000;
      desk.tick();
      // Memory answers at once, in a few turns.
      for (let turns = 0; turns < 50; turns += 1) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  return { desk, boots: desk.boots, pass, said, heard };
}

/** A bucket that counts lists, and may be away. */
function counting() {
  const memory = new MemoryBackend();
  const state = { lists: 0, away: false, got: [] as string[] };
  const bucket: SegmentBucket = {
    get: (key, most) => {
      state.got.push(key);
      return memory.get(key, most);
    },
    open: (key) => memory.open(key),
    put: (key, bytes) => memory.put(key, bytes),
    remove: (key) => memory.remove(key),
    eachBelow: async (...given) => {
      state.lists += 1;
      if (state.away) throw new Error('The engine is away.');
      return memory.eachBelow(...given);
    },
  };
  return { memory, bucket, state };
}

it('servers of one bucket show what the others saw, within ten seconds, and tell it', async (t) => {
  const { bucket } = counting();
  const [one, two] = [await deskAt(t, bucket), await deskAt(t, bucket)];
  const machine = new SeenMachine(one.boots, 1, RELEASE).dhcp().script().kernel();
  await one.boots.settled();
  await one.pass(5);
  await two.pass(5);
  const [shown] = await two.boots.find({ machine: machine.mac }, 1);
  assert.deepEqual([shown?.outcome, shown?.release], ['running', RELEASE]);
  machine.refused('bad-signature', 'Nobody signed it.');
  await one.boots.settled();
  await one.pass(5);
  await two.pass(5);
  const [refused] = await two.boots.find({ machine: machine.mac }, 1);
  assert.deepEqual([refused?.outcome, refused?.code], ['refused', 'bad-signature']);
  assert.deepEqual(
    two.heard.map(({ machine: mac, outcome }) => [mac, outcome]),
    [
      [machine.mac, 'running'],
      [machine.mac, 'refused'],
    ],
  );
  // It is the other's: this server ends nothing of it, and writes nothing.
  await two.pass(60);
  assert.deepEqual([two.said, two.desk.warnings], [[], []]);
});

it('what stood there before a server began is no news, also where it could not be read at first', async (t) => {
  const { bucket, state } = counting();
  const before = await deskAt(t, bucket);
  const machine = new SeenMachine(before.boots, 1, RELEASE).dhcp().script().kernel();
  machine.refused('bad-signature', 'Nobody signed it.');
  await before.boots.settled();
  await before.pass(5);
  state.away = true;
  const after = await deskAt(t, bucket);
  assert.equal((await after.boots.find({}, 9)).length, 0);
  await after.pass(15);
  assert.deepEqual(after.said, ['receipts of boots cannot be read']);
  new SeenMachine(after.boots, 2, RELEASE).dhcp().script().kernel();
  await after.boots.settled();
  await after.pass(5);
  after.heard.length = 0;
  state.away = false;
  await after.pass(6);
  assert.deepEqual(after.said, ['receipts of boots cannot be read', 'receipts of boots are read again']);
  assert.equal((await after.boots.find({ machine: machine.mac }, 9)).length, 1);
  assert.deepEqual(after.heard, []);
  assert.equal(state.got.length, 1, 'what it wrote itself it knows better');
});

it('a bucket is asked no more than twice a second, however many servers write there', async (t) => {
  const { memory, bucket, state } = counting();
  const series = Array.from({ length: 40 }, (_, server) => `boots/s${server}-00000000/${nameOfTime(START)}`);
  const grow = async (times: number) => {
    for (const key of series) await memory.put(key, Buffer.from('{}\n'.repeat(times)));
  };
  await grow(1);
  const { pass } = await deskAt(t, bucket);
  await pass(5);
  state.lists = 0;
  await pass(50);
  assert.equal(state.lists, 10, 'one list in five seconds where nothing grows');
  await grow(2);
  await pass(5);
  state.lists = 0;
  // A list and two for each that grew.
  await pass(40);
  assert.equal(state.lists, 0);
  await pass(1);
  assert.equal(state.lists, 1);
});
