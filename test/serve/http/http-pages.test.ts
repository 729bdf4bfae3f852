import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request } from 'node:http';
import { test } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import {
  healthPage,
  jsonAnswer,
  metricsPage,
  readyPage,
  textAnswer,
} from '../../../src/serve/http/http-pages.ts';
import type { Page } from '../../../src/serve/http/http-types.ts';
import { createMetrics } from '../../../src/serve/metrics.ts';
import { memorySite } from '../sites.ts';
import { ask, dial, raw, serving } from './harness.ts';

const site = memorySite({ '/file': 'octets' });
const echo: Page = { handle: ({ path, query }) => textAnswer(200, `${path} ${query.get('q')}`) };

test('named pages: exact before pattern, longer pattern before shorter, the query decoded', async (t) => {
  const pages = new Map<string, Page>([
    ['/', { handle: () => textAnswer(200, 'home') }],
    ['/api/v1/*', echo],
    ['/api/v1/machines/*', { handle: () => textAnswer(200, 'machine') }],
    ['/api/v1/boots', { handle: () => jsonAnswer(200, ['boot']) }],
  ]);
  const { port } = await serving(t, site, {}, pages);
  const text = async (path: string) => (await ask(port, path)).body.toString();
  assert.equal(await text('/'), 'home');
  assert.equal(await text('/api/v1/other?q=a%20b'), '/api/v1/other a b');
  assert.equal(await text('/api/v1/machines/52:54:00:12:34:56'), 'machine');
  assert.equal(await text('/api/v1/boots'), '["boot"]\n');
  assert.equal(await text('/file'), 'octets');
});

test('a page has a length, HEAD without a body, and its own Allow', async (t) => {
  const pages = new Map([['/healthz', healthPage()]]);
  const { port } = await serving(t, site, {}, pages);
  const get = await ask(port, '/healthz');
  assert.deepEqual([get.status, get.headers['content-length'], get.body.toString()], [200, '3', 'ok\n']);
  assert.equal(get.headers['cache-control'], 'no-store');
  const head = await ask(port, '/healthz', { method: 'HEAD' });
  assert.deepEqual([head.status, head.headers['content-length'], head.body.length], [200, '3', 0]);
  const post = await ask(port, '/healthz', { method: 'POST' });
  assert.deepEqual([post.status, post.headers.allow], [405, 'GET, HEAD']);
});

test('readyz says why not', async (t) => {
  let ready: readonly string[] | Refusal = new Refusal('no-verdict', 'Releases are still being verified.');
  const { port } = await serving(t, site, {}, new Map([['/readyz', readyPage(() => ready)]]));
  const early = await ask(port, '/readyz');
  assert.deepEqual(
    [early.status, early.body.toString()],
    [503, 'no-verdict: Releases are still being verified.\n'],
  );
  ready = ['the snapshot of stable ended'];
  const late = await ask(port, '/readyz');
  assert.deepEqual(
    [late.status, late.body.toString()],
    [200, 'ready\nwarning: the snapshot of stable ended\n'],
  );
});

test('a page may accept a body up to its bound, also one that waits for 100', async (t) => {
  const page: Page = {
    methods: ['POST'],
    maxBodyBytes: 8,
    handle: ({ body }) => textAnswer(200, Buffer.from(body).toString('hex')),
  };
  const { port } = await serving(t, site, {}, new Map([['/receipts', page]]));
  assert.equal((await ask(port, '/receipts', { method: 'POST', body: 'ab' })).body.toString(), '6162');
  assert.equal((await ask(port, '/receipts', { method: 'POST', body: '123456789' })).status, 413);
  const chunked = { 'Transfer-Encoding': 'chunked' };
  assert.equal(
    (await ask(port, '/receipts', { method: 'POST', headers: chunked, body: '123456789' })).status,
    413,
  );
  const req = request({
    port,
    path: '/receipts',
    method: 'POST',
    headers: { Expect: '100-continue' },
    agent: false,
  });
  req.flushHeaders();
  await once(req, 'continue');
  req.end('xy');
  const [res] = await once(req, 'response');
  assert.equal(res.statusCode, 200);
  res.resume();
});

test('a page that refuses, by value or by throwing, is answered like a file that is refused', async (t) => {
  const refusal = new Refusal('wrong-machine', 'That script is for another machine.');
  const pages = new Map<string, Page>([
    ['/a', { handle: () => refusal }],
    ['/b', { handle: () => Promise.reject(refusal) }],
  ]);
  const { port } = await serving(t, site, {}, pages);
  for (const path of ['/a', '/b']) {
    const { status, body } = await ask(port, path);
    assert.deepEqual(
      [status, body.toString()],
      [403, 'wrong-machine: That script is for another machine.\n'],
    );
  }
});

test('a stream of events leaves piece by piece and ends when the client goes', async (t) => {
  let ended: () => void = () => {};
  const end = new Promise<void>((resolve) => {
    ended = resolve;
  });
  const page: Page = {
    handle: ({ signal }) => ({
      status: 200,
      headers: { 'Content-Type': 'text/event-stream' },
      body: (async function* () {
        yield 'data: 1\n\n';
        if (!signal.aborted) await once(signal, 'abort');
        ended();
      })(),
    }),
  };
  const { port } = await serving(t, site, {}, new Map([['/events', page]]));
  const req = request({ port, path: '/events', agent: false }).end();
  req.on('error', () => {});
  const [res] = await once(req, 'response');
  res.on('error', () => {});
  const [piece] = await once(res, 'data');
  assert.equal(piece.toString(), 'data: 1\n\n');
  req.destroy();
  await end;
});

test('metrics count requests, bytes, refusals and rejected connections, each server for itself', async (t) => {
  const metrics = createMetrics();
  const pages = new Map([['/metrics', metricsPage(metrics)]]);
  const server = await serving(t, site, {}, pages);
  await ask(server.port, '/file');
  await ask(server.port, '/nope');
  await raw(t, server.port, 'NOT HTTP\r\n\r\n');
  for (const event of server.events) metrics.observe(event);
  const { headers, body } = await ask(server.port, '/metrics');
  assert.match(headers['content-type'] ?? '', /^text\/plain; version=0\.0\.4/);
  const text = body.toString();
  assert.match(text, /^bootseal_http_requests_total\{status="200"\} 1$/m);
  assert.match(text, /^bootseal_http_requests_total\{status="404"\} 1$/m);
  assert.match(text, /^bootseal_turned_away_total\{server="http",reason="not-a-request"\} 1$/m);
  assert.match(text, /^bootseal_transfers_total\{server="http",outcome="complete"\} 1$/m);
  assert.match(text, /^bootseal_refusals_total\{server="http",code="absent"\} 1$/m);
  assert.match(text, /^bootseal_transfers_active\{server="http"\} 0$/m);
  assert.match(text, /^bootseal_sent_bytes_total\{server="http"\} 38$/m);
  // Another server's are its own; and each series is there before anything has happened.
  const fresh = await createMetrics().registry.metrics();
  assert.match(fresh, /^bootseal_http_requests_total\{status="200"\} 0$/m);
  const series = (of: string) => of.split('\n').map((line) => line.replace(/ \d+$/, ''));
  assert.deepEqual(series(fresh), series(text));
});

test('a client that leaves in the middle of a body is one that has gone, and no fault of the server', async (t) => {
  let asked = 0;
  const page: Page = {
    methods: ['POST'],
    maxBodyBytes: 100,
    handle() {
      asked += 1;
      return textAnswer(200, 'heard');
    },
  };
  const server = await serving(t, site, {}, new Map([['/heard', page]]));
  for (const way of ['end', 'resetAndDestroy'] as const) {
    const socket = await dial(t, server.port);
    const { localPort } = socket;
    socket.write('POST /heard HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc');
    await server.event('started', ({ port }) => port === localPort);
    socket[way]();
    const { outcome } = await server.event('ended', ({ port }) => port === localPort);
    assert.equal(outcome, 'client-gone');
  }
  assert.equal(asked, 0);
  assert.deepEqual(server.errors, []);
});
