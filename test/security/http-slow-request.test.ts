import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, dial, raw, serving, untilClosed } from '../serve/http/harness.ts';
import { WAYS } from '../serve/sites.ts';

const HASTE = { headersTimeoutMs: 60, requestTimeoutMs: 60, checkIntervalMs: 10 };

for (const [way, siteOf] of WAYS) {
  const site = () => siteOf({ '/f': 'x' });

  test(`a connection that says nothing is answered 408 and closed, ${way}`, async (t) => {
    const server = await serving(t, site(), HASTE);
    assert.match(
      await untilClosed(await dial(t, server.port)),
      /^HTTP\/1\.1 408 .*did not arrive in time\.\n$/s,
    );
    assert.equal((await server.event('turned-away')).reason, 'too-slow');
  });

  test(`a header that arrives a byte at a time is answered 408 (slowloris), ${way}`, async (t) => {
    const server = await serving(t, site(), HASTE);
    const socket = await dial(t, server.port);
    socket.write('GET /f HTTP/1.1\r\n');
    const timer = setInterval(() => socket.write('X: y\r\n'), 5);
    t.after(() => clearInterval(timer));
    assert.match(await untilClosed(socket), /^HTTP\/1\.1 408 /);
  });

  test(`a second request that never ends is cut off too, ${way}`, async (t) => {
    const server = await serving(t, site(), HASTE);
    const text = await raw(t, server.port, 'GET /f HTTP/1.1\r\nHost: x\r\n\r\nGET /f HTTP/1.1\r\n');
    assert.match(text, /^HTTP\/1\.1 200 .*\r\n\r\nxHTTP\/1\.1 408 /s);
  });

  test(`a header without end is answered 431, ${way}`, async (t) => {
    const server = await serving(t, site(), { maxHeaderBytes: 4096 });
    const endless = `GET /f HTTP/1.1\r\nHost: x\r\n${'X: yyyyyyyyyyyyyyyy\r\n'.repeat(400)}`;
    assert.match(await raw(t, server.port, endless), /^HTTP\/1\.1 431 .*too large\.\n$/s);
    assert.match(await raw(t, server.port, `GET /${'a'.repeat(9000)}`), /^HTTP\/1\.1 431 /);
    assert.equal((await ask(server.port, '/f')).status, 200);
  });

  test(`an idle connection is closed after its keep-alive time, ${way}`, async (t) => {
    const server = await serving(t, site(), { keepAliveTimeoutMs: 50 });
    assert.match(await raw(t, server.port, 'GET /f HTTP/1.1\r\nHost: x\r\n\r\n'), /^HTTP\/1\.1 200 /);
  });
}
