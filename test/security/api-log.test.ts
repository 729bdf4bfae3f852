import assert from 'node:assert/strict';
import { once } from 'node:events';
import { it } from 'node:test';
import { dial, serving } from '../serve/http/harness.ts';
import { memorySite } from '../serve/sites.ts';

/** Requests that break in the middle: what is told of them is where they begin, and never a field or a body. */

const SECRET = 'S3cret'.repeat(8);

for (const [what, first, second] of [
  ['a field', 'GET /boot.ipxe HTTP/1.1\r\n', `Authorization: Bearer bst_${SECRET}\r\nbroken\r\n\r\n`],
  ['a field in its middle', 'GET / HTTP/1.1\r\nAuthorization: Bearer bst_S3', `${SECRET}\r\nbroken\r\n\r\n`],
  ['a cookie', 'GET / HTTP/1.1\r\n', `Cookie: __Host-bootseal=${SECRET}\r\nbroken\r\n\r\n`],
  [
    'a body in chunks',
    'POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
    `token=bst_${SECRET}\r\n`,
  ],
] as const)
  it(`${what}, in a packet of its own`, async (t) => {
    const server = await serving(t, memorySite({}));
    const socket = await dial(t, server.port);
    // When the first request is answered, the beginning of the second was taken with it: what follows is a packet of its own.
    socket.write(`GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n${first}`);
    await once(socket, 'data');
    socket.end(second);
    socket.resume();
    if (!socket.closed) await once(socket, 'close');
    assert.doesNotMatch(JSON.stringify(server.events), /S3cret/);
  });

it('tells the first line of what comes first', async (t) => {
  const server = await serving(t, memorySite({}));
  const socket = await dial(t, server.port);
  socket.end('NOT HTTP AT ALL\r\n\r\n');
  assert.equal((await server.event('turned-away')).asked, 'NOT HTTP AT ALL');
});
