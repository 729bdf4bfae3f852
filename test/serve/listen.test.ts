import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { describe, it, test } from 'node:test';
import { startHttpServer } from '../../src/serve/http/http.ts';
import { ListenError, toListenError } from '../../src/serve/listen.ts';
import { Shares } from '../../src/serve/shares.ts';
import { serving } from './http/harness.ts';
import { memorySite } from './sites.ts';

const start = (bind: string, port: number) =>
  startHttpServer({
    site: memorySite({}),
    pages: new Map(),
    bind,
    port,
    shares: new Shares(),
    emit: () => {},
  });

test('a port in use: one sentence with address, port and what to do', async (t) => {
  const { port } = await serving(t, memorySite({}));
  await assert.rejects(start('127.0.0.1', port), (error) => {
    assert.ok(error instanceof ListenError);
    assert.deepEqual([error.code, error.address, error.port], ['EADDRINUSE', '127.0.0.1', port]);
    assert.equal(
      error.message,
      `HTTP cannot listen on 127.0.0.1 port ${port}: another program holds that port; stop it or choose another port.`,
    );
    return true;
  });
});

test('an address this machine does not have', async () => {
  await assert.rejects(start('203.0.113.1', 0), { name: 'ListenError', code: 'EADDRNOTAVAIL' });
});

for (const [bind, port] of [
  ['localhost', 0],
  ['', 0],
  ['127.0.0.1', 65536],
  ['127.0.0.1', -1],
  ['127.0.0.1', 80.5],
] as const) {
  test(`no address or port: ${JSON.stringify(bind)} ${port}`, async () => {
    await assert.rejects(start(bind, port), { name: 'ListenError', code: 'EINVAL' });
  });
}

test('a privileged port names the privilege; IPv6 is bracketed; what has no code stays itself', () => {
  const refused = Object.assign(new Error('listen EACCES'), { code: 'EACCES' });
  const error = toListenError({ what: 'TFTP', address: '::1', port: 69 }, refused);
  assert.ok(error instanceof ListenError);
  assert.match(error.message, /^TFTP cannot listen on \[::1\] port 69: .*CAP_NET_BIND_SERVICE/);
  assert.equal(error.cause, refused);
  const other = new Error('x');
  assert.equal(toListenError({ what: 'TFTP', address: '::1', port: 69 }, other), other);
});

describe('a server on several addresses', () => {
  it('is one server: the connections of all count together, and the share that holds most gives way', async (t) => {
    const server = await startHttpServer({
      site: memorySite({ '/f': 'x' }),
      pages: new Map(),
      bind: ['127.0.0.1', '::1'],
      port: 0,
      shares: new Shares(),
      emit: () => {},
      limits: { maxConnections: 2, reservedConnections: 0 },
    });
    t.after(() => server.close({ graceMs: 0 }));
    assert.deepEqual(
      server.bound.map(({ address }) => address),
      ['127.0.0.1', '::1'],
    );
    assert.equal(new Set(server.bound.map(({ port }) => port)).size, 1);
    const open = (host: string) => {
      const socket = connect({ host, port: server.port });
      t.after(() => socket.destroy());
      return socket;
    };
    const first = open('127.0.0.1');
    await once(first, 'connect');
    const second = open('127.0.0.1');
    const gone = Promise.race([first, second].map((socket) => once(socket, 'close')));
    for (const socket of [first, second]) socket.on('error', () => {});
    await once(second, 'connect');
    const other = open('::1');
    other.write('GET /f HTTP/1.1\r\nHost: a\r\n\r\n');
    const [answer] = await once(other, 'data');
    assert.match(String(answer), /^HTTP\/1\.1 200 /);
    await gone;
    assert.equal(server.connections, 2);
  });

  it('listens nowhere where one address cannot be had, and closes all of them at its end', async () => {
    const options = {
      site: memorySite({ '/f': 'x' }),
      pages: new Map(),
      port: 0,
      shares: new Shares(),
      emit: () => {},
    };
    await assert.rejects(startHttpServer({ ...options, bind: ['127.0.0.1', '192.0.2.1'] }), ListenError);
    await assert.rejects(startHttpServer({ ...options, bind: [] }), ListenError);
    const server = await startHttpServer({ ...options, bind: ['127.0.0.1', '::1', '127.0.0.1'] });
    assert.equal(server.bound.length, 2);
    await server.close({ graceMs: 0 });
    for (const { address, port } of server.bound) {
      const socket = connect({ host: address, port });
      const [error] = await once(socket, 'error');
      assert.equal(error.code, 'ECONNREFUSED');
    }
  });
});
