import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectPlain } from 'node:net';
import { it, type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { connect } from 'node:tls';
import { promisify } from 'node:util';
import { textAnswer } from '../../../src/serve/http/http-pages.ts';
import type { Page } from '../../../src/serve/http/http-types.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { readTlsPair, tlsPair } from '../../fixtures/tls-pair.ts';
import { heldSite, memorySite } from '../sites.ts';
import { ask, serving } from './harness.ts';

const run = promisify(execFile);
const folder = await temporaryFolder();
const files = { old: await tlsPair(folder, 'old'), next: await tlsPair(folder, 'next') };
const pairs = { old: await readTlsPair(files.old), next: await readTlsPair(files.next) };
const octets = 'x'.repeat(3_000_000);
const site = memorySite({ '/file': octets });

async function started(t: TestContext, limits = {}, pages: ReadonlyMap<string, Page> = new Map()) {
  const server = await serving(t, site, limits, pages, { tls: { port: 0, pair: pairs.old } });
  const port = server.tls?.bound[0]?.port ?? 0;
  return { server, port, base: `https://127.0.0.1:${port}` };
}

/** What `openssl s_client` says of a handshake. */
async function handshake(port: number, ...words: string[]): Promise<string> {
  const child = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, ...words]);
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (piece: string) => {
      said += piece;
    });
  child.stdin.end();
  await once(child, 'close');
  return said;
}

it('serves the same over TLS, as curl sees it: pages, files, ranges, which stay in the clear as well', async (t) => {
  const page: Page = {
    methods: ['GET', 'POST'],
    maxBodyBytes: 9,
    handle: ({ way, method }) => textAnswer(200, `${method} ${way}`),
  };
  const { server, base } = await started(t, {}, new Map([['/way', page]]));
  const curl = async (...words: string[]) =>
    (
      await run('curl', ['-s', '--noproxy', '*', '--cacert', files.old.certificate, ...words], {
        maxBuffer: 1e8,
      })
    ).stdout;
  assert.equal(await curl(`${base}/way`), 'GET tls');
  assert.equal(await curl('-d', 'x', `${base}/way`), 'POST tls');
  assert.equal((await curl(`${base}/file`)).length, octets.length);
  assert.equal(await curl('-r', '0-3', `${base}/file`), 'xxxx');
  assert.equal(await curl(`${base}/way`, `${base}/way`, '-w', ' %{num_connects};'), 'GET tls 1;GET tls 0;');
  assert.equal((await ask(server.port, '/way')).body.toString(), 'GET loopback');
  assert.equal((await ask(server.port, '/file')).body.length, octets.length);
  assert.deepEqual(server.errors, []);
});

it('speaks TLS 1.2 and 1.3, nothing older, and gives no tickets', async (t) => {
  const { port } = await started(t);
  assert.match(await handshake(port, '-tls1_3'), /New, TLSv1\.3, /);
  const tls12 = await handshake(port, '-tls1_2');
  assert.match(tls12, /New, TLSv1\.2, Cipher is ECDHE-/);
  assert.doesNotMatch(tls12, /session ticket/i);
  for (const old of ['-tls1_1', '-tls1'])
    assert.match(await handshake(port, old, '-cipher', 'DEFAULT@SECLEVEL=0'), /\(NONE\)/, old);
});

it('shows another certificate from one moment to the next, and ends nothing that runs', async (t) => {
  const { server, port } = await started(t);
  const subject = async () => /subject=CN = (\S+)/.exec(await handshake(port))?.[1];
  assert.equal(await subject(), 'old');
  const running = connect({ port, host: '127.0.0.1', ca: pairs.old.certificate, servername: '' });
  t.after(() => running.destroy());
  await once(running, 'secureConnect');
  server.tls?.change(pairs.next);
  assert.equal(await subject(), 'next');
  running.write('GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  let bytes = 0;
  for await (const piece of running) bytes += piece.length;
  assert.ok(bytes > octets.length);
  // A pair that is none changes nothing.
  assert.throws(() => server.tls?.change({ certificate: pairs.old.certificate, key: pairs.next.key }));
  assert.equal(await subject(), 'next');
});

it('tells who spoke no TLS, or never shook hands, and lets them go', async (t) => {
  const { server, port } = await started(t, { headersTimeoutMs: 300 });
  const plain = connectPlain({ port, host: '127.0.0.1' });
  plain.on('error', () => {});
  plain.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const { asked } = await server.event('turned-away', ({ reason }) => reason === 'not-a-request');
  assert.equal(asked, 'TLS handshake: ERR_SSL_HTTP_REQUEST');
  const silent = connectPlain({ port, host: '127.0.0.1' });
  silent.on('error', () => {});
  await server.event('turned-away', ({ reason }) => reason === 'too-slow');
  await Promise.all([plain, silent].map((socket) => socket.closed || once(socket, 'close')));
  // The client may know it a turn before the server does.
  while (server.connections > 0) await setImmediate();
  assert.deepEqual(server.errors, []);
});

it('counts connections of both doors together, those that never shake hands among them', async (t) => {
  const { server, port } = await started(t, { maxConnections: 3, reservedConnections: 0 });
  const idle = Array.from({ length: 3 }, () =>
    connectPlain({ port, host: '127.0.0.1', localAddress: '127.0.0.2' }),
  );
  for (const socket of idle) socket.on('error', () => {});
  t.after(() => {
    for (const socket of idle) socket.destroy();
  });
  await Promise.all(idle.map((socket) => once(socket, 'connect')));
  // Another address has its part: one of those gives way, by either door.
  const { status } = await ask(server.port, '/file');
  assert.equal(status, 200);
  const said = await handshake(port);
  assert.match(said, /CN = old/);
  assert.ok(server.connections <= 3);
});

it('closes both doors at once, idle connections among them', async (t) => {
  const { server, port } = await started(t);
  const socket = connect({ port, host: '127.0.0.1', ca: pairs.old.certificate, servername: '' });
  socket.on('error', () => {});
  await once(socket, 'secureConnect');
  const waiting = connectPlain({ port, host: '127.0.0.1' });
  waiting.on('error', () => {});
  await once(waiting, 'connect');
  const gone = Promise.all([once(socket, 'close'), once(waiting, 'close')]);
  await server.close({ graceMs: 60_000 });
  await gone;
  assert.equal(server.connections, 0);
  await assert.rejects(ask(server.port, '/file'), { code: 'ECONNREFUSED' });
});

it('gives what is held in memory at once, and tells how much of it was taken', async (t) => {
  const held = heldSite({ '/small': 'x', '/large': Buffer.alloc(30_000_000) });
  const tls = { port: 0, pair: pairs.old };
  const server = await serving(t, held, { chunkTimeoutMs: 300 }, new Map(), { tls });
  const port = server.tls?.bound[0]?.port ?? 0;
  const address = `https://127.0.0.1:${port}/small`;
  const trust = ['-s', '--noproxy', '*', '--cacert', files.old.certificate];
  // One after the other: a request that comes before the answer of the one before has left waits, as all others do.
  for (const fields of [[], ['-H', 'Connection: close'], ['-H', 'Accept: text/plain']])
    assert.equal((await run('curl', [...trust, ...fields, address])).stdout, 'x');
  assert.deepEqual([held.trace.held, held.trace.found], [3, []]);
  for (const id of [1, 2, 3]) {
    const { outcome, bytes } = await server.event('ended', (event) => event.id === id);
    assert.deepEqual([outcome, bytes], ['complete', 1]);
  }
  const reader = connect({ port, host: '127.0.0.1', ca: pairs.old.certificate, servername: '' });
  t.after(() => reader.destroy());
  reader.on('error', () => {});
  await once(reader, 'secureConnect');
  reader.pause();
  reader.write('GET /large HTTP/1.1\r\nHost: x\r\n\r\n');
  const { outcome, bytes } = await server.event('ended', ({ id }) => id === 4);
  assert.deepEqual([outcome, bytes], ['stalled', 0]);
  assert.equal(held.trace.held, 4);
});
