import assert from 'node:assert/strict';
import { once } from 'node:events';
import { it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import type { ServerEvent } from '../../src/release/server-event.ts';
import { MOST_OF_SHARE } from '../../src/server/event-hub.ts';
import type { Serving } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { pageSite, STABLE } from '../fixtures/page-site.ts';
import { SeenMachine } from '../fixtures/seen-boots.ts';
import { EventReader } from './event-reader.ts';
import { dialHttp } from './raw-http.ts';

const site = await pageSite(await temporaryFolder());

async function served(t: TestContext, onEvent?: (event: ServerEvent) => void): Promise<Serving> {
  const server = await site.serve(onEvent ? { onEvent } : {});
  t.after(() => server.close(0));
  return server;
}

it('each step of a boot is told, as a receipt', async (t) => {
  const server = await served(t);
  const reader = await EventReader.open(t, `${server.url}/api/v1/events`);
  assert.equal(reader.response.headers['content-type'], 'text/event-stream; charset=utf-8');
  const machine = new SeenMachine(server.boots, 1, STABLE).dhcp();
  const dhcp = await reader.next(({ event }) => event === 'boot');
  assert.deepEqual([dhcp.data.machine, dhcp.data.stage, dhcp.data.outcome], [machine.mac, 'dhcp', 'running']);
  assert.equal(reader.retry, '2000');
  machine.script().kernel().initrd().verified();
  const last = await reader.next(({ data }) => data.outcome === 'verified');
  assert.equal(last.data.boot, dhcp.data.boot);
});

it('who comes back goes on where it was; who was away too long, or knows another server, is told to look anew', async (t) => {
  const server = await served(t);
  const first = await EventReader.open(t, `${server.url}/api/v1/events?of=boot`);
  new SeenMachine(server.boots, 1, STABLE).dhcp();
  const { id } = await first.next(({ event }) => event === 'boot');
  first.close();
  const two = new SeenMachine(server.boots, 2, STABLE).dhcp();
  const again = await EventReader.open(t, `${server.url}/api/v1/events?of=boot`, { 'Last-Event-ID': id });
  assert.equal((await again.next(() => true)).data.machine, two.mac);
  const after = await EventReader.open(t, `${server.url}/api/v1/events?of=boot&after=${id}`);
  assert.equal((await after.next(() => true)).data.machine, two.mac);
  const stranger = await EventReader.open(t, `${server.url}/api/v1/events`, {
    'Last-Event-ID': 'ffffffff-3',
  });
  assert.equal((await stranger.next(() => true)).event, 'reset');
});

it('the same is had by asking, one answer at a time', async (t) => {
  const server = await served(t);
  const ask = async (query: string) => {
    const response = await fetch(`${server.url}/api/v1/events?poll&of=boot${query}`);
    return (await response.json()) as {
      last: string;
      reset: boolean;
      events: { data: { machine: string } }[];
    };
  };
  const { last } = await ask('');
  const { mac } = new SeenMachine(server.boots, 1, STABLE).dhcp();
  const { events, reset } = await ask(`&after=${last}`);
  assert.deepEqual([events.map(({ data }) => data.machine), reset], [[mac], false]);
  assert.equal((await ask('&after=00000000-9')).reset, true);
  assert.equal((await fetch(`${server.url}/api/v1/events?of=gossip`)).status, 400);
});

it('so many listen from one address, and one who leaves makes room', async (t) => {
  const server = await served(t);
  const url = `${server.url}/api/v1/events`;
  // HEAD listens to nothing, and takes nobody's place.
  for (let count = 0; count < 40; count += 1) await fetch(url, { method: 'HEAD' });
  const readers = [];
  for (let count = 0; count < MOST_OF_SHARE; count += 1) readers.push(await EventReader.open(t, url));
  assert.equal(
    readers.every(({ response }) => response.statusCode === 200),
    true,
  );
  const late = await fetch(url);
  assert.equal(late.status, 503);
  assert.equal(late.headers.get('retry-after'), '10');
  assert.equal((await fetch(`${url}?poll`)).status, 200, 'asking goes on');
  readers[0]?.close();
  let status = 503;
  for (let count = 0; count < 200 && status === 503; count += 1) {
    const next = await EventReader.open(t, url);
    status = next.response.statusCode ?? 0;
  }
  assert.equal(status, 200);
});

it('who reads nothing holds nothing: what happens meanwhile is not kept for it, and it is told to look anew', async (t) => {
  const server = await served(t);
  const socket = await dialHttp(t, server.http.port);
  socket.write('GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n');
  await once(socket, 'readable');
  // More than the buffers of a connection and the hub hold together.
  const lines = Array.from({ length: 20 }, (_, index) => `${index}`.repeat(200).slice(0, 200));
  const machine = new SeenMachine(server.boots, 1, STABLE).dhcp();
  for (let count = 0; count < 6000; count += 1) {
    machine.kernel();
    if (count % 100 === 0) machine.refused('stale', `once more: ${count}`, lines);
    if (count % 500 === 0) await setImmediate();
  }
  let text = '';
  for await (const piece of socket) {
    text = (text + String(piece)).slice(-100_000);
    if (text.includes('event: reset')) break;
  }
  assert.match(text, /event: reset/);
});

it('a server that closes waits for no listener', async (t) => {
  const server = await served(t);
  const reader = await EventReader.open(t, `${server.url}/api/v1/events`);
  await server.close(3_600_000);
  await reader.end();
});
