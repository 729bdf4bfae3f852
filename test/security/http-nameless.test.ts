import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { ask, serving } from '../serve/http/harness.ts';
import { memorySite } from '../serve/sites.ts';

/** Sends a request, and resets the connection: both before anybody takes it. */
const HIT_AND_RUN = `
const socket = require('node:net').connect({ host: '127.0.0.1', port: Number(process.argv[1]) }, () =>
  socket.write('GET /f HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n', () => socket.resetAndDestroy()));
`;

test('a request whose sender is gone, and with it its address, is not taken: nobody would be named for it', async (t) => {
  const site = memorySite({ '/f': 'the file' });
  const server = await serving(t, site);
  // This process takes no connection while it waits for the other one.
  const { status, stderr } = spawnSync(process.execPath, ['-e', HIT_AND_RUN, String(server.port)]);
  assert.equal(status, 0, String(stderr));
  assert.equal((await ask(server.port, '/f')).status, 200);
  await server.event('ended');
  const senders = server.events
    .filter(({ kind }) => kind === 'started')
    .map((event) => 'remote' in event && event.remote);
  assert.deepEqual(senders, ['127.0.0.1']);
  assert.deepEqual(site.trace.found, ['/f']);
  assert.equal(server.connections <= 1, true);
});
