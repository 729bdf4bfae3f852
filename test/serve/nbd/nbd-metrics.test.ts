import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import { createMetrics } from '../../../src/serve/metrics.ts';
import { content, dial, memoryExports, nbd, transmitting } from './nbd-harness.ts';

test('metrics tell connections, requests and bytes of NBD while a connection lasts, and what was refused', async (t) => {
  const drifted = new Refusal('drifted', 'It is another file now.', {});
  const exports = memoryExports({
    root: { data: content(100_000) },
    gone: { data: content(1), refuses: drifted },
  });
  const server = await nbd(t, exports, { maxConnections: 2, maxToldRefusals: 0 });
  const metrics = createMetrics();
  metrics.follow('nbd', () => ({
    open: server.connections,
    heldBytes: server.heldBytes,
    sentBytes: server.bytes,
    requests: server.requests,
  }));
  const told = async (series: string): Promise<string | undefined> =>
    (await metrics.registry.metrics())
      .split('\n')
      .find((line) => line.startsWith(`bootseal_${series} `))
      ?.split(' ')[1];

  const client = await transmitting(t, server.port);
  assert.equal((await client.read(0, 4096)).error, 0);
  assert.equal((await client.read(90_000, 10_000)).error, 0);
  assert.equal((await client.read(99_999, 10)).error, 22);
  assert.equal(await told('connections{server="nbd"}'), '1');
  assert.equal(await told('nbd_requests_total'), '3');
  assert.equal(await told('sent_bytes_total{server="nbd"}'), '14096');
  assert.equal(await told('held_bytes{server="nbd"}'), '0');

  const refused = await dial(t, server.port);
  await refused.greet();
  await refused.ask({ kind: 'go', name: 'gone', wants: [] });
  const silent = await dial(t, server.port);
  // It gives way to one that comes later: both are of one address, and have asked for nothing yet.
  assert.equal((await silent.hear(18)).length, 18);
  const extra = await dial(t, server.port);
  await Promise.all([extra.hear(18), refused.rest()]);
  client.socket.destroy();
  await server.event('ended');
  // The event comes before the server forgets the connection.
  await new Promise((resolve) => setImmediate(resolve));
  for (const event of server.events) metrics.observe(event);

  assert.equal(await told('connections{server="nbd"}'), '1');
  // What was done stays done, however often it is told.
  assert.equal(await told('sent_bytes_total{server="nbd"}'), '14096');
  assert.equal(await told('sent_bytes_total{server="nbd"}'), '14096');
  assert.equal(await told('refusals_total{server="nbd",code="drifted"}'), '1');
  assert.equal(await told('transfers_total{server="nbd",outcome="client-gone"}'), '1');
  assert.equal(await told('turned_away_total{server="nbd",reason="too-many"}'), '2');
  assert.equal(await told('transfers_active{server="nbd"}'), '0');
});
