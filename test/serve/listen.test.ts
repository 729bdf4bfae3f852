import assert from 'node:assert/strict';
import { test } from 'node:test';
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
