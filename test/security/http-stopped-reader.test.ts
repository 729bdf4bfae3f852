import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ask, dial, serving } from '../serve/http/harness.ts';
import { diskSite, heldSite, memorySite, WAYS } from '../serve/sites.ts';

const MIB = 1024 * 1024;
const BIG = Buffer.alloc(64 * MIB);
const GET = 'GET /big HTTP/1.1\r\nHost: x\r\n\r\n';
const FILES = { '/big': BIG, '/small': 'x' };

test('readers that stop are dropped, and leave neither memory nor descriptors behind', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'http-stopped-'));
  t.after(() => rm(dir, { recursive: true }));
  const file = join(dir, 'big');
  await writeFile(file, '');
  await truncate(file, BIG.length);
  const tested = diskSite([{ path: '/big', file, size: BIG.length, digest: 'big' }]);
  const server = await serving(t, tested, { stallTimeoutMs: 600 });
  const before = (await readdir('/proc/self/fd')).length;
  let held = 0;
  const sockets = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const socket = await dial(t, server.port);
      socket.pause();
      socket.write(GET);
      return socket;
    }),
  );
  const endings = await new Promise<string[]>((resolve) => {
    const timer = setInterval(() => {
      held = Math.max(held, server.heldBytes);
      const ended = server.events.filter((event) => event.kind === 'ended').map((event) => event.outcome);
      if (ended.length < sockets.length) return;
      clearInterval(timer);
      resolve(ended);
    }, 5);
  });
  assert.deepEqual([...new Set(endings)], ['stalled']);
  assert.ok(held > 0 && held <= 20 * 2 * MIB, `${held} bytes held`);
  await tested.allClosed();
  assert.equal(server.heldBytes, 0);
  await Promise.all(
    sockets.map((socket) => {
      socket.resume();
      return socket.closed || new Promise((resolve) => socket.once('close', resolve));
    }),
  );
  assert.ok((await readdir('/proc/self/fd')).length <= before);
  assert.equal((await ask(server.port, '/big', { method: 'HEAD' })).status, 200);
});

/** With a field that nobody has heard of, what is held is answered by the long way, too. */
const FIELDS = ['', 'X-Unheard-Of: 1\r\n'];
const EACH = WAYS.flatMap(([way, siteOf]) => FIELDS.map((fields) => ({ way, siteOf, fields })));

for (const { way, siteOf, fields } of EACH) {
  const get = `GET /big HTTP/1.1\r\nHost: x\r\n${fields}\r\n`;
  const how = `${way}${fields && ', with a field more'}`;
  test(`a stopped reader cannot stay by sending bytes of its own, ${how}`, async (t) => {
    const tested = siteOf(FILES);
    const server = await serving(t, tested, { stallTimeoutMs: 400, chunkTimeoutMs: 1000 });
    const socket = await dial(t, server.port);
    socket.pause();
    socket.write(get);
    // Empty lines before a request are allowed (RFC 9112 §2.2), and each counts as activity of the socket.
    const timer = setInterval(() => socket.write('\r\n'), 20);
    t.after(() => clearInterval(timer));
    assert.equal((await server.event('ended')).outcome, 'stalled');
    await tested.allClosed();
    assert.equal(server.heldBytes, 0);
  });

  test(`a reader that leaves costs nothing more, ${how}`, async (t) => {
    const tested = siteOf(FILES);
    const server = await serving(t, tested);
    const socket = await dial(t, server.port);
    socket.write(get);
    await new Promise((resolve) => socket.once('data', resolve));
    socket.destroy();
    const finished = await server.event('ended');
    assert.equal(finished.outcome, 'client-gone');
    await tested.allClosed();
    assert.equal(server.heldBytes, 0);
    assert.ok(tested.trace.read < BIG.length);
    assert.equal(tested.trace.held, tested.trace.opened === 0 ? 1 : 0);
  });
}

test('reading ahead stops at what one client needs: a stopped reader makes the server read little', async (t) => {
  const tested = memorySite(FILES);
  const server = await serving(t, tested, { stallTimeoutMs: 600 });
  const socket = await dial(t, server.port);
  socket.pause();
  socket.write(GET);
  const finished = await server.event('ended');
  // What the kernel's buffers of both ends took, one chunk that waited, one read ahead.
  assert.ok(tested.trace.read <= finished.bytes + 2 * MIB, `${tested.trace.read} of ${finished.bytes}`);
});

test('readers that ask for small files and never take one are dropped when nothing more fits in between', async (t) => {
  const tested = heldSite({ '/f': Buffer.alloc(64 * 1024), '/small': 'x' });
  const server = await serving(t, tested, { chunkTimeoutMs: 300 });
  const before = (await readdir('/proc/self/fd')).length;
  for (let reader = 0; reader < 5; reader += 1) {
    const socket = await dial(t, server.port);
    socket.pause();
    // One request at a time, so that each is answered at once.
    for (;;) {
      const asked = tested.trace.held;
      const told = server.events.length;
      socket.write('GET /f HTTP/1.1\r\nHost: x\r\n\r\n');
      const mine = () =>
        server.events.slice(told).find(({ kind, port }: { kind: string; port?: number }) => {
          return kind === 'ended' && port === socket.localPort;
        });
      while (mine() === undefined) await new Promise((resolve) => setImmediate(resolve));
      assert.equal(tested.trace.held, asked + 1);
      const ended = mine();
      assert.ok(ended?.kind === 'ended');
      if (ended.outcome !== 'complete') {
        assert.deepEqual([ended.outcome, ended.bytes], ['stalled', 0]);
        break;
      }
      assert.equal(server.connections, 1);
    }
    socket.resume();
    if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
  }
  assert.deepEqual(tested.trace.found, []);
  assert.equal(server.connections, 0);
  assert.ok((await readdir('/proc/self/fd')).length <= before);
  assert.equal((await ask(server.port, '/small')).status, 200);
});
