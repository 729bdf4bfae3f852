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
  metrics.followNbd(server);
  const told = async (name: string): Promise<string | undefined> =>
    (await metrics.registry.getSingleMetricAsString(name))
      .split('\n')
      .find((line) => line.startsWith(name))
      ?.slice(name.length);

  const client = await transmitting(t, server.port);
  assert.equal((await client.read(0, 4096)).error, 0);
  assert.equal((await client.read(90_000, 10_000)).error, 0);
  assert.equal((await client.read(99_999, 10)).error, 22);
  assert.equal(await told('bootseal_nbd_connections'), ' 1');
  assert.equal(await told('bootseal_nbd_requests_total'), ' 3');
  assert.equal(await told('bootseal_nbd_sent_bytes_total'), ' 14096');
  assert.equal(await told('bootseal_nbd_held_bytes'), ' 0');

  const refused = await dial(t, server.port);
  await refused.greet();
  await refused.ask({ kind: 'go', name: 'gone', wants: [] });
  const extra = await dial(t, server.port);
  assert.equal((await extra.rest()).length, 0);
  client.socket.destroy();
  refused.socket.destroy();
  await Promise.all([server.event('closed', ({ id }) => id === 1), server.event('rejected')]);
  await server.event('closed', ({ id }) => id === 2);
  // The event comes before the server forgets the connection.
  await new Promise((resolve) => setImmediate(resolve));
  for (const event of server.events) metrics.observeNbd(event);

  assert.equal(await told('bootseal_nbd_connections'), ' 0');
  // What was done stays done, however often it is told.
  assert.equal(await told('bootseal_nbd_sent_bytes_total'), ' 14096');
  assert.equal(await told('bootseal_nbd_sent_bytes_total'), ' 14096');
  assert.equal(await told('bootseal_refusals_total'), '{server="nbd",code="drifted"} 1');
  assert.equal(await told('bootseal_nbd_rejected_connections_total'), ' 1');
  assert.equal(await told('bootseal_nbd_closed_connections_total'), '{ending="client-gone"} 2');
});
