import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { it, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { KeyholderClient } from '../../src/keyholder/client.ts';
import { readChannel } from '../../src/store/channels.ts';
import { checkLog, showLog } from '../../src/store/log-reader.ts';
import { readWaiting } from '../../src/store/log-waiting.ts';
import { copier } from '../faults/copies.ts';
import { failed } from '../fixtures/failed.ts';
import { keyholder, keyholderSite, socketIn } from './sites.ts';

const LONG = process.env.BOOTSEAL_LONG_TESTS !== undefined;
const STEPS = fileURLToPath(new URL('step-child.js', import.meta.url));
const site = await keyholderSite();
const { folder, keys, anchors } = site;
const fresh = copier(folder, site.state);

/** A keyholder that sends itself a signal at a step of the first request. */
async function stepping(t: TestContext, at?: number, signal: NodeJS.Signals = 'SIGKILL') {
  const state = await fresh();
  const socket = await socketIn(folder);
  const [armed, taken] = [`${socket}.armed`, `${socket}.taken`];
  const running = await keyholder(t, { keys, state }, socket, ['--anchors', anchors], {
    NODE_OPTIONS: `--import=${STEPS}`,
    STEPS_ARMED: armed,
    STEPS_TAKEN: taken,
    STEPS_SIGNAL: signal,
    ...(at === undefined ? {} : { STEPS_AT: String(at) }),
  });
  await writeFile(armed, '');
  const steps = async () => (await readFile(taken, 'utf8')).trim().split('\n');
  return { running, state, socket, client: new KeyholderClient({ socket }), steps };
}

const renewed = (client: KeyholderClient) => client.renew('stable');

it('killed between its log and its signature, it leaves a valid state that the next start names', async (t) => {
  const whole = await stepping(t);
  assert.equal((await renewed(whole.client)).snapshot.counter, 2);
  const { length } = await whole.steps();
  assert.ok(length > 20, `${length} steps`);
  const moments = Array.from({ length }, (_, index) => index + 1).filter(
    (at) => LONG || at % 5 === 4 || at === length,
  );
  const named = new Set<string>();
  for (const at of moments) {
    const what = `killed at step ${at} of ${length}`;
    const { running, state, socket, client } = await stepping(t, at);
    await assert.rejects(renewed(client), (error: Error) => error.name === 'IoError', what);
    assert.equal((await running.ended).code, undefined, what);
    // 1. What is left is whole: the channel is at the old snapshot or the new, and nothing is signed that is not logged.
    await checkLog({ state, now: Date.now(), certificates: anchors, allowWaiting: true });
    const { counter } = (await readChannel(state, 'stable'))?.snapshot ?? { counter: 0 };
    assert.ok([1, 2].includes(counter), what);
    const acts: string[] = [];
    const { count } = await readWaiting(state, ({ act }) => void acts.push(act));
    const logged = (await showLog({ state })).filter(({ act }) => act === 'renew').length + 1;
    const next = await keyholder(t, { keys, state }, socket);
    // 2. Asked again, it does it, and all is signed.
    const again = await renewed(client);
    assert.ok(again.snapshot.counter > counter, what);
    await checkLog({ state, now: Date.now(), certificates: anchors });
    next.signal('SIGTERM');
    const ended = await next.ended;
    assert.equal(ended.code, 0, what);
    // 3. It said when it started what had not been finished, and nothing else.
    const told = ended.out.split('\n').slice(1).join('\n');
    const asked =
      /^Unfinished: entry 3 of the log \(keyholder: renew, asked by uid \d+, stable, \S+Z\) was written and never signed: .*, ask again\.$/m;
    assert.equal(asked.test(told), acts.includes('ask'), `${what}: ${told}`);
    assert.equal(/wait for a signature\.$/m.test(told), count > 0, `${what}: ${told}`);
    const never =
      /^Unfinished: the log names snapshot 2 of stable, which is at 1: that one never was, ask again\.$/m;
    assert.equal(never.test(told), logged > counter, `${what}: ${told}`);
    for (const [name, fact] of Object.entries({ asked, never })) if (fact.test(told)) named.add(name);
    if (count === 0 && logged === counter) assert.equal(told.trim(), '', what);
  }
  assert.deepEqual([...named].sort(), ['asked', 'never']);
});

it('told to end while it works, it finishes, answers, and takes its socket away', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    // Between the log and the signature.
    const { running, state, socket, client, steps } = await stepping(t, 5, signal);
    assert.equal((await renewed(client)).snapshot.counter, 2, signal);
    assert.equal((await running.ended).code, 0, signal);
    assert.ok((await steps()).length > 20);
    assert.equal(existsSync(socket), false, signal);
    await checkLog({ state, now: Date.now(), certificates: anchors });
    await assert.rejects(renewed(client), failed('ENOENT', /there is no such socket/));
  }
});

it('told to end, it begins nothing more for those who wait', async (t) => {
  const { running, client } = await stepping(t, 5, 'SIGTERM');
  const answers = await Promise.allSettled([renewed(client), renewed(client), renewed(client)]);
  assert.equal((await running.ended).code, 0);
  const done = answers.filter(({ status }) => status === 'fulfilled');
  assert.equal(done.length, 1);
  for (const answer of answers)
    if (answer.status === 'rejected')
      assert.match(String(answer.reason), /^IoError: (The keyholder|No keyholder) /);
});
