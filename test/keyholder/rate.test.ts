import assert from 'node:assert/strict';
import { it } from 'node:test';
import { startKeyholder } from '../../src/keyholder/keyholder.ts';
import { RateLimit } from '../../src/keyholder/rate.ts';
import { channelHistory } from '../../src/store/channels.ts';
import { say } from './raw-client.ts';
import { keyholderSite, socketIn } from './sites.ts';

it('hears a burst, and then one more every so many milliseconds; each account for itself', () => {
  let now = 5000;
  const limit = new RateLimit({ burst: 3, everyMs: 1000 }, () => now);
  const heard = (uid = 7) => limit.take(uid) === undefined;
  assert.deepEqual([heard(), heard(), heard(), heard()], [true, true, true, false]);
  assert.equal(heard(8), true);
  now += 400;
  assert.deepEqual(limit.take(7), { waitMs: 600 });
  now += 600;
  assert.deepEqual([heard(), heard()], [true, false]);
  now += 1_000_000;
  assert.deepEqual([heard(), heard(), heard(), heard()], [true, true, true, false]);
  // A clock that goes back gives nothing and takes nothing.
  now -= 2000;
  assert.equal(heard(), false);
  now += 1000;
  assert.equal(heard(), true);
});

it('a keyholder answers who asks too often with a plain sentence, and signs nothing for him', async () => {
  const { folder, keys, state } = await keyholderSite();
  let now = 0;
  const socket = await socketIn(folder);
  const rate = { burst: 2, everyMs: 60_000 };
  const keyholder = await startKeyholder({ socket, keys, state, rate, monotonic: () => now });
  const renew = async () =>
    JSON.parse(await say(socket, '{"bootseal-keyholder":1,"ask":"renew","channel":"stable"}\n'));
  const counter = async () => (await channelHistory(state, 'stable')).at(-1)?.snapshot.counter;
  try {
    // What is no request counts, too: it cost us as much.
    assert.equal(JSON.parse(await say(socket, 'x\n')).code, 'malformed');
    assert.equal((await renew()).answer, 'done');
    const before = await counter();
    now += 15_000;
    const uid = process.geteuid?.();
    assert.deepEqual(await renew(), {
      'bootseal-keyholder': 1,
      answer: 'io',
      message: `uid ${uid} asked too often; ask again in 45 s.`,
    });
    assert.equal(await counter(), before);
    now += 45_000;
    assert.equal((await renew()).answer, 'done');
    assert.equal(await counter(), (before ?? 0) + 1);
  } finally {
    await keyholder.close();
  }
});
