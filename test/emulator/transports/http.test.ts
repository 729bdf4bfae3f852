import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTcp, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { Fetched } from '../../../src/emulator/transport.ts';
import { httpTransport } from '../../../src/emulator/transports/http.ts';
import { Refusal } from '../../../src/errors/refusal.ts';
import { serving } from '../../serve/http/harness.ts';
import { memorySite } from '../../serve/sites.ts';

const DATA = Buffer.alloc(500_000, 'bootseal');
const transport = httpTransport({ connectTimeoutMs: 5_000, stallTimeoutMs: 5_000 });
const impatient = httpTransport({ connectTimeoutMs: 5_000, stallTimeoutMs: 80 });

/** An HTTP server that does what a test says. */
async function http(t: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  return origin(server.address());
}

/** A server that answers each connection's first bytes with bytes. */
async function octets(t: TestContext, answer: (socket: Socket) => void): Promise<string> {
  const sockets = new Set<Socket>();
  const server = createTcp((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.once('data', () => answer(socket));
  }).listen(0, '127.0.0.1');
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  await once(server, 'listening');
  return origin(server.address());
}

function origin(address: ReturnType<ReturnType<typeof createTcp>['address']>): string {
  assert.ok(address !== null && typeof address === 'object');
  return `http://127.0.0.1:${address.port}`;
}

async function collect({ body }: Fetched): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for await (const piece of body) pieces.push(piece);
  return Buffer.concat(pieces);
}

const refused =
  (code: string, facts: Record<string, unknown> = {}) =>
  (error: unknown) => {
    assert.ok(error instanceof Refusal, String(error));
    assert.equal(error.code, code);
    for (const [name, value] of Object.entries(facts)) assert.equal(error.facts[name], value, name);
    return true;
  };

test('our own server: whole, part, head, absent', async (t) => {
  const { port } = await serving(t, memorySite({ '/f': DATA }));
  const url = `http://127.0.0.1:${port}/f`;
  const whole = await transport.fetch(url);
  assert.deepEqual([whole.url, whole.size, whole.partial], [url, DATA.length, false]);
  assert.ok((await collect(whole)).equals(DATA));
  const part = await transport.fetch(url, { range: { first: 3, last: 9 } });
  assert.deepEqual([part.size, part.partial], [7, true]);
  assert.deepEqual([part.part, whole.part], [{ first: 3, last: 9, size: DATA.length }, undefined]);
  assert.ok((await collect(part)).equals(DATA.subarray(3, 10)));
  const head = await transport.fetch(url, { method: 'HEAD' });
  assert.equal(head.size, DATA.length);
  assert.equal((await collect(head)).length, 0);
  await assert.rejects(transport.fetch(`http://127.0.0.1:${port}/nope`), refused('absent', { status: 404 }));
});

test('a server that ignores Range is said to have', async (t) => {
  const url = await http(t, (_req, res) => res.end('whole'));
  const fetched = await transport.fetch(url, { range: { first: 0, last: 0 } });
  assert.equal(fetched.partial, false);
  assert.equal((await collect(fetched)).toString(), 'whole');
});

for (const [what, range] of [
  ['another part', 'bytes 1-1/5'],
  ['more than was asked for', 'bytes 0-1/5'],
  ['no Content-Range', ''],
] as const) {
  test(`a 206 with ${what} is refused`, async (t) => {
    const url = await http(t, (_req, res) => {
      res.writeHead(206, range === '' ? {} : { 'Content-Range': range }).end('ab');
    });
    await assert.rejects(transport.fetch(url, { range: { first: 0, last: 0 } }), refused('malformed'));
  });
}

for (const status of [410, 400, 403, 416, 500, 503, 304]) {
  test(`status ${status}`, async (t) => {
    const url = await http(t, (_req, res) => res.writeHead(status).end());
    await assert.rejects(
      transport.fetch(url),
      refused(status === 410 ? 'absent' : 'unreachable', { status }),
    );
  });
}

test('redirects are followed, relative ones too, and the range goes with them', async (t) => {
  const seen: unknown[] = [];
  const url = await http(t, (req, res) => {
    seen.push([req.url, req.headers.range]);
    if (req.url === '/a/b') res.writeHead(302, { Location: '../c' }).end();
    else if (req.url === '/c') res.writeHead(307, { Location: `http://${req.headers.host}/d#x` }).end();
    else res.writeHead(206, { 'Content-Range': 'bytes 0-0/9' }).end('d');
  });
  const fetched = await transport.fetch(`${url}/a/b`, { range: { first: 0, last: 0 } });
  assert.equal(fetched.url, `${url}/d`);
  assert.equal((await collect(fetched)).toString(), 'd');
  assert.deepEqual(seen, [
    ['/a/b', 'bytes=0-0'],
    ['/c', 'bytes=0-0'],
    ['/d', 'bytes=0-0'],
  ]);
});

test('the eleventh redirect is one too many', async (t) => {
  let asked = 0;
  const url = await http(t, (_req, res) => {
    asked += 1;
    res.writeHead(301, { Location: `/${asked}` }).end();
  });
  await assert.rejects(transport.fetch(url), refused('unreachable', { redirects: 10 }));
  assert.equal(asked, 11);
});

for (const location of ['https://127.0.0.1/', 'file:///etc/passwd', 'tftp://127.0.0.1/x']) {
  test(`a redirect to ${location} is not followed`, async (t) => {
    const url = await http(t, (_req, res) => res.writeHead(302, { Location: location }).end());
    await assert.rejects(transport.fetch(url), refused('unreachable'));
  });
}

test('a body that ends before its length is a refusal that counts', async (t) => {
  const url = await octets(t, (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'));
  const fetched = await transport.fetch(url);
  assert.equal(fetched.size, 10);
  await assert.rejects(collect(fetched), refused('unreachable', { bytes: 3, size: 10 }));
});

test('a chunked body without its end is a refusal', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
  const url = await octets(t, (socket) => socket.end(`${head}3\r\nabc\r\n`));
  await assert.rejects(transport.fetch(url).then(collect), refused('unreachable'));
});

test('a coding that was not asked for is refused', async (t) => {
  const url = await http(t, (_req, res) => res.writeHead(200, { 'Content-Encoding': 'gzip' }).end('x'));
  await assert.rejects(transport.fetch(url), refused('unreachable', { coding: 'gzip' }));
});

test('contradictory lengths are refused', async (t) => {
  const head = 'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n';
  const url = await octets(t, (socket) => socket.end(`${head}3\r\nabc\r\n0\r\n\r\n`));
  await assert.rejects(transport.fetch(url).then(collect), refused('unreachable'));
});

test('nobody listens', async (t) => {
  const server = createTcp().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await once(server, 'listening');
  const url = origin(server.address());
  server.close();
  await once(server, 'close');
  await assert.rejects(transport.fetch(url), refused('unreachable', { code: 'ECONNREFUSED' }));
});

test('a server that accepts and never answers', async (t) => {
  const url = await octets(t, () => {});
  await assert.rejects(impatient.fetch(url), refused('unreachable'));
});

test('a server that stops in the middle', async (t) => {
  const url = await octets(t, (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'));
  await assert.rejects(impatient.fetch(url).then(collect), refused('unreachable', { bytes: 3 }));
});

test('a server that sends a byte now and then does not hold a machine (slow retrieval)', async (t) => {
  const url = await octets(t, (socket) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n');
    const timer = setInterval(() => socket.write('x'), 5);
    socket.once('close', () => clearInterval(timer));
  });
  await assert.rejects(impatient.fetch(url).then(collect), (error: unknown) => {
    assert.ok(error instanceof Refusal && error.code === 'unreachable');
    return Number(error.facts.bytes) > 1;
  });
});

test('a slow consumer does not make the server look slow', async (t) => {
  const { port } = await serving(t, memorySite({ '/f': DATA }));
  const fetched = await impatient.fetch(`http://127.0.0.1:${port}/f`);
  let octetsSeen = 0;
  let rested = false;
  for await (const piece of fetched.body) {
    octetsSeen += piece.length;
    if (!rested) await new Promise((resolve) => setTimeout(resolve, 200));
    rested = true;
  }
  assert.equal(octetsSeen, DATA.length);
});

test('a consumer that stops closes the connection', async (t) => {
  const server = await serving(t, memorySite({ '/f': Buffer.alloc(50_000_000) }));
  const { body } = await transport.fetch(`http://127.0.0.1:${server.port}/f`);
  for await (const _piece of body) break;
  const finished = await server.event('ended');
  assert.equal(finished.outcome, 'client-gone');
  assert.ok(finished.bytes < 50_000_000);
});

test('a signal ends a fetch, before and in the body', async (t) => {
  const url = await octets(t, (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc'));
  await assert.rejects(transport.fetch(url, { signal: AbortSignal.abort() }), refused('unreachable'));
  const controller = new AbortController();
  const { body } = await transport.fetch(url, { signal: controller.signal });
  await assert.rejects(async () => {
    for await (const _piece of body) controller.abort();
  }, refused('unreachable'));
});

for (const url of ['https://127.0.0.1/', 'ftp://x/', 'nonsense', 'http://u:p@127.0.0.1/']) {
  test(`not fetched: ${url}`, async () => {
    await assert.rejects(transport.fetch(url), (error) => error instanceof Refusal);
  });
}
