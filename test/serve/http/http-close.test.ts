import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { textAnswer } from '../../../src/serve/http/http-pages.ts';
import type { Page } from '../../../src/serve/http/http-types.ts';
import { memorySite } from '../sites.ts';
import { dial, serving, untilClosed } from './harness.ts';

const GET = 'GET /slow HTTP/1.1\r\nHost: x\r\n\r\n';

/** A page whose answer waits until it is released. */
function slowPage(): { page: Page; entered: Promise<void>; release: () => void } {
  let enter: () => void = () => {};
  let release: () => void = () => {};
  const entered = new Promise<void>((resolve) => {
    enter = resolve;
  });
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  const handle = async () => {
    enter();
    await released;
    return textAnswer(200, 'done');
  };
  return { page: { handle }, entered, release };
}

test('close lets a running response finish and drops idle connections at once', async (t) => {
  const { page, entered, release } = slowPage();
  const server = await serving(t, memorySite({}), {}, new Map([['/slow', page]]));
  const idle = await dial(t, server.port);
  const busy = await dial(t, server.port);
  busy.write(GET);
  await entered;
  const closing = server.close({ graceMs: 60_000 });
  idle.resume();
  await once(idle, 'close');
  release();
  assert.match(await untilClosed(busy), /^HTTP\/1\.1 200 .*done$/s);
  await closing;
  assert.equal((await server.event('ended')).outcome, 'complete');
});

test('close destroys what is still running after the grace', async (t) => {
  const { page, entered } = slowPage();
  const server = await serving(t, memorySite({}), {}, new Map([['/slow', page]]));
  const busy = await dial(t, server.port);
  busy.write(GET);
  await entered;
  await server.close({ graceMs: 1 });
  assert.equal(await untilClosed(busy), '');
  assert.equal((await server.event('ended')).outcome, 'closed');
});

test('closing twice is closing once', async (t) => {
  const server = await serving(t, memorySite({}));
  await Promise.all([server.close({ graceMs: 0 }), server.close({ graceMs: 0 })]);
});
