import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Site } from '../../src/release/site.ts';
import { createMetrics } from '../../src/serve/metrics.ts';
import { ask, raw, serving } from '../serve/http/harness.ts';
import { memorySite } from '../serve/sites.ts';

const BIG = Buffer.alloc(4_000_000, 'o');
const GET = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
const bodyOf = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4);

test('a large file that drifts while it is sent arrives short, and the event says so', async (t) => {
  const site = memorySite({ '/f': { data: BIG, drifts: true } });
  const server = await serving(t, site);
  const text = await raw(t, server.port, GET('/f'));
  assert.match(text, /^HTTP\/1\.1 200 .*Content-Length: 4000000\r\n/s);
  assert.ok(bodyOf(text).length < BIG.length);
  const finished = await server.event('ended');
  assert.equal(finished.outcome, 'refused');
  assert.equal((await server.event('refused')).refusal.code, 'drifted');
  await site.allClosed();
  const metrics = createMetrics();
  for (const event of server.events) metrics.observe(event);
  assert.match(await metrics.registry.metrics(), /bootseal_refusals_total\{server="http",code="drifted"\} 1/);
});

test('a small file that drifts is a 503 with the reason, and none of its bytes', async (t) => {
  const server = await serving(t, memorySite({ '/f': { data: Buffer.from('secret'), drifts: true } }));
  for (const method of ['GET', 'HEAD']) {
    const { status, headers, body } = await ask(server.port, '/f', { method });
    assert.equal(status, 503);
    assert.equal(headers.etag, undefined);
    assert.equal(headers['cache-control'], 'no-store');
    if (method === 'GET') assert.equal(body.toString(), 'drifted: The file changed after it was verified.\n');
  }
});

test('a file that is refused when opened is a 503', async (t) => {
  const server = await serving(t, memorySite({ '/f': { data: BIG, refuses: true } }));
  assert.equal((await ask(server.port, '/f')).status, 503);
});

test('an empty file is checked too', async (t) => {
  const server = await serving(t, memorySite({ '/f': { data: Buffer.alloc(0), drifts: true } }));
  assert.equal((await ask(server.port, '/f')).status, 503);
});

test('of several ranges the last bytes wait for the check', async (t) => {
  const server = await serving(t, memorySite({ '/f': { data: BIG, drifts: true } }));
  const text = await raw(t, server.port, GET('/f', 'Range: bytes=0-9,3999990-3999999\r\n'));
  assert.match(text, /^HTTP\/1\.1 206 /);
  assert.match(bodyOf(text), /bytes 0-9\//);
  assert.doesNotMatch(bodyOf(text), /bytes 3999990-/);
});

test('of several ranges one that has the last bytes waits for the check, wherever it stands', async (t) => {
  const server = await serving(t, memorySite({ '/f': { data: BIG, drifts: true } }));
  assert.match(
    await raw(t, server.port, GET('/f', 'Range: bytes=3999990-3999999,0-9\r\n')),
    /^HTTP\/1\.1 503 /,
  );
});

test('a file that became shorter is cut off, one whose disk fails as well', async (t) => {
  const whole = memorySite({ '/f': BIG });
  const failing = (read: (position: number) => Promise<number>): Site => ({
    find: async (path) => {
      const resource = await whole.find(path);
      if (resource instanceof Error) return resource;
      const open = async () => ({
        read: (_: Uint8Array, at: number) => read(at),
        check: async () => {},
        close: async () => {},
      });
      return { ...resource, open };
    },
  });
  const shorter = await serving(
    t,
    failing(async (at) => (at === 0 ? 1000 : 0)),
  );
  assert.equal(bodyOf(await raw(t, shorter.port, GET('/f'))).length, 1000);
  assert.equal((await shorter.event('refused')).refusal.code, 'drifted');

  const broken = await serving(
    t,
    failing(async (at) => {
      if (at === 0) return 1000;
      throw Object.assign(new Error('EIO: /dev/sda'), { code: 'EIO' });
    }),
  );
  assert.equal(bodyOf(await raw(t, broken.port, GET('/f'))).length, 1000);
  assert.equal((await broken.event('ended')).outcome, 'failed');
  assert.equal(broken.errors.length, 1);
});

test('what this machine cannot read now is 503 without a word of where it lies, and served again later', async (t) => {
  const whole = memorySite({ '/f': 'the file' });
  let fault: 'open' | 'read' | 'check' | undefined;
  const failing = (step: typeof fault): void => {
    if (fault === step)
      throw Object.assign(new Error('EMFILE: too many open files, /srv/state'), { code: 'EMFILE' });
  };
  const site: Site = {
    find: async (path) => {
      const resource = await whole.find(path);
      if (resource instanceof Error) return resource;
      return {
        ...resource,
        async open() {
          failing('open');
          const open = await resource.open();
          return {
            read: async (buffer, position) => {
              failing('read');
              return open.read(buffer, position);
            },
            check: async () => {
              failing('check');
              await open.check();
            },
            close: () => open.close(),
          };
        },
      };
    },
  };
  const server = await serving(t, site);
  for (const step of ['open', 'read', 'check'] as const) {
    fault = step;
    const { status, body } = await ask(server.port, '/f');
    assert.deepEqual(
      [status, body.toString()],
      [503, 'The server cannot read this now; its log says why.\n'],
      step,
    );
    fault = undefined;
    assert.equal((await ask(server.port, '/f')).body.toString(), 'the file');
  }
  await whole.allClosed();
  assert.equal(server.errors.length, 3);
  const { asked, status } = await server.event('failed');
  assert.deepEqual([asked, status], ['/f', 503]);
});
