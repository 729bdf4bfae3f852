import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { dial, serving } from './http/harness.ts';
import { memorySite } from './sites.ts';
import { rawSocket, rrq, tftp } from './tftp/tftp-harness.ts';

/** Longer than any test runs: who waits for it hangs. */
const LONG = 2 ** 31 - 1;
const site = memorySite({ '/large': Buffer.alloc(50_000_000) });

test('HTTP: a second close ends the wait that the first one allowed', async (t) => {
  const server = await serving(t, site);
  const socket = await dial(t, server.port);
  socket.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
  // It reads no more after the first bytes: the response cannot end.
  await once(socket, 'data');
  socket.pause();
  const first = server.close({ graceMs: LONG });
  await server.close({ graceMs: 0 });
  await first;
  assert.equal((await server.event('ended')).outcome, 'closed');
});

test('TFTP: a second close ends the wait that the first one allowed', async (t) => {
  const server = await tftp(t, site);
  const client = await rawSocket(t);
  client.say(rrq('large'), server.port);
  assert.equal((await client.hear()).packet.kind, 'data');
  const first = server.close({ graceMs: LONG });
  await server.close({ graceMs: 0 });
  await first;
  assert.equal((await server.event('ended')).outcome, 'closed');
});
