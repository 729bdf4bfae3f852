import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:http';
import { test } from 'node:test';
import { byterangesBoundary, decodeByteranges } from '../../../src/formats/net/byteranges.ts';
import { memorySite, sha256 } from '../sites.ts';
import { ask, raw, serving } from './harness.ts';

const DATA = Buffer.from(Array.from({ length: 3_000_000 }, (_, i) => (i * 7 + (i >> 8)) & 0xff));
const PATH = '/releases/arch/2026.11.01/arch/x86_64/airootfs.sfs';
const TAG = `"${sha256(DATA)}"`;
const site = () =>
  memorySite({
    [PATH]: DATA,
    '/boot.ipxe': '#!ipxe\n',
    '/empty': '',
    '/typed': { data: Buffer.from('x'), type: 'application/x-mine' },
  });

test('a file arrives whole, with its digest as strong tag and its length', async (t) => {
  const tested = site();
  const server = await serving(t, tested);
  const { status, headers, body } = await ask(server.port, PATH);
  assert.equal(status, 200);
  assert.ok(body.equals(DATA));
  assert.equal(headers.etag, TAG);
  assert.equal(headers['content-length'], String(DATA.length));
  assert.equal(headers['content-type'], 'application/octet-stream');
  assert.equal(headers['accept-ranges'], 'bytes');
  assert.equal(headers['cache-control'], 'public, max-age=31536000, immutable');
  assert.equal(headers['x-content-type-options'], 'nosniff');
  assert.equal(headers['x-powered-by'], undefined);
  assert.equal(headers['transfer-encoding'], undefined);
  const finished = await server.event('ended');
  assert.equal(finished.outcome, 'complete');
  assert.equal(finished.bytes, DATA.length);
  assert.equal(server.heldBytes, 0);
  assert.equal(tested.trace.opened, tested.trace.closed);
});

test('what may change is revalidated, and text is called text', async (t) => {
  const { headers } = await ask((await serving(t, site())).port, '/boot.ipxe');
  assert.equal(headers['cache-control'], 'no-cache');
  assert.equal(headers['content-type'], 'text/plain; charset=utf-8');
});

test('a resource that knows its type keeps it', async (t) => {
  const { headers } = await ask((await serving(t, site())).port, '/typed');
  assert.equal(headers['content-type'], 'application/x-mine');
});

test('an empty file has a length of zero', async (t) => {
  const server = await serving(t, site());
  const { status, headers, body } = await ask(server.port, '/empty');
  assert.deepEqual([status, headers['content-length'], body.length], [200, '0', 0]);
  assert.equal((await ask(server.port, '/empty', { headers: { Range: 'bytes=0-0' } })).status, 416);
});

test('HEAD says what GET would and sends nothing', async (t) => {
  const tested = site();
  const server = await serving(t, tested);
  const get = await ask(server.port, PATH);
  const before = tested.trace.read;
  const head = await ask(server.port, PATH, { method: 'HEAD', headers: { Range: 'bytes=0-0' } });
  const fixed = ({ date: _date, ...rest }: Record<string, unknown>) => rest;
  assert.deepEqual([head.status, fixed(head.headers)], [200, fixed(get.headers)]);
  assert.equal(head.body.length, 0);
  assert.equal(tested.trace.read, before);
});

test('one range', async (t) => {
  const tested = site();
  const server = await serving(t, tested);
  const { status, headers, body } = await ask(server.port, PATH, {
    headers: { Range: 'bytes=1000000-2500000' },
  });
  assert.equal(status, 206);
  assert.equal(headers['content-range'], `bytes 1000000-2500000/${DATA.length}`);
  assert.equal(headers['content-length'], '1500001');
  assert.ok(body.equals(DATA.subarray(1_000_000, 2_500_001)));
  assert.equal(tested.trace.read, 1_500_001);
});

test('several ranges', async (t) => {
  const server = await serving(t, site());
  const { status, headers, body } = await ask(server.port, PATH, {
    headers: { Range: 'bytes=-3,0-1999999,5-6' },
  });
  assert.equal(status, 206);
  assert.equal(headers['content-length'], String(body.length));
  const parts = decodeByteranges(body, byterangesBoundary(headers['content-type'] ?? ''));
  assert.deepEqual(
    parts.map(({ range }) => range),
    [
      { first: DATA.length - 3, last: DATA.length - 1 },
      { first: 0, last: 1_999_999 },
      { first: 5, last: 6 },
    ],
  );
  for (const { range, data } of parts) {
    assert.ok(Buffer.from(data).equals(DATA.subarray(range.first, range.last + 1)));
  }
  assert.equal((await server.event('ended')).bytes, body.length);
});

test('a range beyond the end is 416 with the size; another unit is ignored', async (t) => {
  const server = await serving(t, site());
  const beyond = await ask(server.port, PATH, { headers: { Range: `bytes=${DATA.length}-` } });
  assert.equal(beyond.status, 416);
  assert.equal(beyond.headers['content-range'], `bytes */${DATA.length}`);
  assert.equal((await ask(server.port, '/boot.ipxe', { headers: { Range: 'lines=1-2' } })).status, 200);
});

test('If-None-Match: 304 without a body, and the file is not opened', async (t) => {
  const tested = site();
  const server = await serving(t, tested);
  const { status, headers, body } = await ask(server.port, PATH, {
    headers: { 'If-None-Match': `"x", W/${TAG}` },
  });
  assert.deepEqual([status, headers.etag, body.length], [304, TAG, 0]);
  assert.equal(tested.trace.opened, 0);
});

test('If-Range: the part while the tag holds, else the whole', async (t) => {
  const server = await serving(t, site());
  const headers = { Range: 'bytes=0-9' };
  assert.equal((await ask(server.port, PATH, { headers: { ...headers, 'If-Range': TAG } })).status, 206);
  assert.equal((await ask(server.port, PATH, { headers: { ...headers, 'If-Range': '"old"' } })).status, 200);
});

test('If-Match: 412 for another tag', async (t) => {
  const server = await serving(t, site());
  assert.equal((await ask(server.port, PATH, { headers: { 'If-Match': '"old"' } })).status, 412);
  assert.equal((await ask(server.port, PATH, { method: 'HEAD', headers: { 'If-Match': TAG } })).status, 200);
});

test('an absent file is 404 with code and sentence, as text or JSON, and without facts', async (t) => {
  const server = await serving(t, site());
  const text = await ask(server.port, '/nope');
  assert.equal(text.status, 404);
  assert.equal(text.headers['content-type'], 'text/plain; charset=utf-8');
  assert.equal(text.body.toString(), 'absent: There is no /nope here.\n');
  const json = await ask(server.port, '/nope', { headers: { Accept: 'application/json' } });
  assert.deepEqual(JSON.parse(json.body.toString()), { code: 'absent', message: 'There is no /nope here.' });
  const head = await ask(server.port, '/nope', { method: 'HEAD' });
  assert.deepEqual(
    [head.status, head.headers['content-length'], head.body.length],
    [404, String(text.body.length), 0],
  );
});

test('methods other than GET and HEAD are 405 and name those', async (t) => {
  const tested = site();
  const server = await serving(t, tested);
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH']) {
    const { status, headers } = await ask(server.port, PATH, { method });
    assert.deepEqual([method, status, headers.allow], [method, 405, 'GET, HEAD']);
  }
  assert.deepEqual(tested.trace.found, []);
});

test('one connection serves many requests', async (t) => {
  const server = await serving(t, site());
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ports = new Set<number | undefined>();
  for (const path of [PATH, '/boot.ipxe', '/nope', '/empty', PATH]) {
    const req = request({ port: server.port, path, agent }).end();
    const [res] = await once(req, 'response');
    ports.add(req.socket?.localPort);
    res.resume();
    await once(res, 'end');
  }
  assert.equal(ports.size, 1);
});

test('pipelined requests are answered in order', async (t) => {
  const server = await serving(t, site());
  const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
  const text = await raw(
    t,
    server.port,
    get('/boot.ipxe') + get('/typed') + get('/nope', 'Connection: close\r\n'),
  );
  assert.match(text, /^HTTP\/1\.1 200 .*#!ipxe\nHTTP\/1\.1 200 .*\r\n\r\nxHTTP\/1\.1 404 /s);
});

test('eight clients read one file at once', async (t) => {
  const tested = site();
  const server = await serving(t, tested);
  const answers = await Promise.all(Array.from({ length: 8 }, () => ask(server.port, PATH)));
  for (const { body } of answers) assert.ok(body.equals(DATA));
  await tested.allClosed();
  assert.equal(server.heldBytes, 0);
});

test('a fault of ours is a 500 that tells the client nothing and the log everything', async (t) => {
  const server = await serving(t, {
    find: async () => {
      throw new Error('/var/lib/secret');
    },
  });
  const { status, body } = await ask(server.port, '/x');
  assert.equal(status, 500);
  assert.doesNotMatch(body.toString(), /secret/);
  assert.match(String((server.errors[0] as Error).message), /secret/);
});
