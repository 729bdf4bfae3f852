import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { healthPage, metricsPage, readyPage } from '../../src/serve/http/http-pages.ts';
import { createMetrics } from '../../src/serve/metrics.ts';
import { Shares } from '../../src/serve/shares.ts';
import { dial, raw, serving, untilClosed } from '../serve/http/harness.ts';
import { type Client, content, memoryExports, nbd, transmitting } from '../serve/nbd/nbd-harness.ts';
import { WAYS } from '../serve/sites.ts';

/**
 * One address takes all it can get. A classroom of forty machines behind one router, a root disk that has been idle
 * for an hour, and whoever comes anew are served as if it were not there.
 */

const HOG = '127.0.0.66';
const CLASSROOM = '127.0.0.40';
const ROOT = '127.0.0.7';
const HONEST = '127.0.0.1';
const MACHINES = 40;
const HOUR = 3_600_000;
const MIB = 1024 * 1024;
const shares = new Shares([{ prefix: `${CLASSROOM}/32`, weight: MACHINES }]);

const get = (path: string, more = '') => `GET ${path} HTTP/1.1\r\nHost: x\r\n${more}\r\n`;
const last = (path: string) => get(path, 'Connection: close\r\n');

for (const [way, siteOf] of WAYS)
  describe(`HTTP, with every connection held by one address, ${way}`, () => {
    const MOST = 120;
    const big = Buffer.alloc(16 * MIB);
    const pages = () =>
      new Map([
        ['/healthz', healthPage()],
        ['/readyz', readyPage(() => [])],
        ['/metrics', metricsPage(createMetrics())],
      ]);

    /** A server of whose connections one address holds all, asks for much, and takes next to nothing. */
    async function besieged(t: TestContext, before?: (port: number) => Promise<void>) {
      const site = siteOf({ '/big': big, '/boot.ipxe': '#!ipxe\n' });
      const limits = { maxConnections: MOST, reservedConnections: 4 };
      const server = await serving(t, site, limits, pages(), { shares });
      await before?.(server.port);
      for (let count = 0; count < MOST; count += 1) {
        const socket = await dial(t, server.port, HOG);
        socket.pause();
        socket.write(get('/big'));
      }
      await server.event('started', ({ id }) => id >= MOST);
      return server;
    }

    async function answer(t: TestContext, port: number, path: string, from: string): Promise<string> {
      const socket = await dial(t, port, from);
      socket.write(last(path));
      return untilClosed(socket);
    }

    it('a newcomer of another address is served, at once and again', async (t) => {
      const server = await besieged(t);
      for (let time = 0; time < 5; time += 1) {
        assert.match(await answer(t, server.port, '/boot.ipxe', HONEST), /^HTTP\/1\.1 200 .*#!ipxe\n$/s);
      }
      const gave = server.events.filter((event) => event.kind === 'ended' && event.outcome === 'gave-way');
      assert.ok(gave.length >= 1 && gave.length <= 5, String(gave.length));
      for (const event of gave) assert.equal('remote' in event && event.remote, HOG);
    });

    it('forty machines behind one router keep their downloads and get new ones', async (t) => {
      const machines: Socket[] = [];
      const server = await besieged(t, async (port) => {
        for (let count = 0; count < MACHINES; count += 1) {
          const socket = await dial(t, port, CLASSROOM);
          socket.write(get('/big'));
          await once(socket, 'data');
          socket.pause();
          machines.push(socket);
        }
      });
      for (let count = 0; count < MACHINES; count += 1) {
        assert.match(await answer(t, server.port, '/boot.ipxe', CLASSROOM), /^HTTP\/1\.1 200 /);
      }
      for (const machine of machines) {
        let bytes = 0;
        machine.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          // The first one is gone already.
          if (bytes > 8 * MIB) machine.destroy();
        });
        machine.resume();
        await once(machine, 'close');
        assert.ok(bytes > 8 * MIB, `${bytes} bytes`);
      }
    });

    it('health pages answer the very address that holds all; anything else is told why not', async (t) => {
      const server = await besieged(t);
      for (const [path, status] of [
        ['/healthz', 200],
        ['/readyz', 200],
        ['/metrics', 200],
        ['/boot.ipxe', 503],
        ['/big', 503],
      ] as const) {
        const text = await answer(t, server.port, path, HOG);
        assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), path);
        assert.match(text, /\r\nConnection: close\r\n/i);
      }
      const { asked, message } = await server.event('answered');
      assert.equal(asked, '/boot.ipxe');
      assert.match(message, /more connections than there is room for/);
    });

    it('connections that never ask for anything do not keep the health pages from answering', async (t) => {
      const server = await besieged(t);
      const silent = await Promise.all(Array.from({ length: 20 }, () => dial(t, server.port, HOG)));
      assert.match(await answer(t, server.port, '/healthz', HOG), /^HTTP\/1\.1 200 /);
      assert.match(await answer(t, server.port, '/healthz', HONEST), /^HTTP\/1\.1 200 /);
      for (const socket of silent) socket.destroy();
    });
  });

describe('NBD, with much more asked for by one address than there is memory', () => {
  const DATA = content(8 * MIB);
  const limits = {
    ...{ bufferBytes: 16 * MIB, maxConnectionBytes: MIB, maxConnections: 200 },
    ...{ stallTimeoutMs: 60_000, pressureTimeoutMs: 50 },
  };

  /** Connections that ask for all at once and take one mouthful whenever they are told to. */
  async function besiege(t: TestContext, port: number, count: number): Promise<Client[]> {
    const hogs: Client[] = [];
    for (let index = 0; index < count; index += 1) {
      const hog = await transmitting(t, port, { from: HOG });
      hog.socket.pause();
      for (let time = 0; time < 8; time += 1) hog.request({ length: 8 * MIB });
      hogs.push(hog);
    }
    return hogs;
  }

  it('whoever comes anew reads at once, a root disk that was idle for an hour still is one, forty machines read on', async (t) => {
    const clock = { now: 0 };
    t.mock.timers.enable({ apis: ['setInterval'] });
    const exports = memoryExports({ root: { data: DATA } });
    const server = await nbd(t, exports, limits, { shares, now: () => clock.now });
    const root = await transmitting(t, server.port, { from: ROOT });
    assert.equal((await root.read(0, 4096)).error, 0);
    const machines: Client[] = [];
    for (let count = 0; count < MACHINES; count += 1) {
      machines.push(await transmitting(t, server.port, { from: CLASSROOM }));
    }
    await besiege(t, server.port, 100);
    assert.ok(server.heldBytes > 8 * MIB, `${server.heldBytes} bytes are held`);

    for (let minute = 0; minute < 60; minute += 1) {
      clock.now += HOUR / 60;
      t.mock.timers.tick(HOUR / 60);
      const machine = machines[minute % MACHINES] as Client;
      const { data } = await machine.read(minute * 4096, 65_536);
      assert.ok(data.equals(DATA.subarray(minute * 4096, minute * 4096 + 65_536)));
    }
    const honest = await transmitting(t, server.port, { from: HONEST, structured: true });
    assert.ok((await honest.read(0, 3 * MIB)).data.equals(DATA.subarray(0, 3 * MIB)));
    assert.ok((await root.read(8192, 4096)).data.equals(DATA.subarray(8192, 12_288)));
    for (const event of server.events) {
      if (event.kind === 'ended') assert.equal(event.remote, HOG, event.outcome);
    }
  });

  it('where it holds every connection too, it gives those up', async (t) => {
    const server = await nbd(t, memoryExports({ root: { data: DATA } }), limits, { shares });
    const root = await transmitting(t, server.port, { from: ROOT });
    await besiege(t, server.port, limits.maxConnections - 1);
    for (let count = 0; count < 5; count += 1) {
      const honest = await transmitting(t, server.port, { from: HONEST });
      assert.equal((await honest.read(0, 4096)).error, 0);
    }
    const machines: Client[] = [];
    for (let count = 0; count < MACHINES; count += 1) {
      machines.push(await transmitting(t, server.port, { from: CLASSROOM }));
    }
    for (const machine of [root, ...machines]) assert.equal((await machine.read(4096, 4096)).error, 0);
    for (const event of server.events) {
      if (event.kind === 'ended') assert.equal(event.remote, HOG, event.outcome);
    }
  });

  it('connections that are idle, all of one address, lock nobody out', async (t) => {
    const server = await nbd(t, memoryExports({ root: { data: DATA } }), { maxConnections: 20 }, { shares });
    const root = await transmitting(t, server.port, { from: ROOT });
    for (let count = 0; count < 30; count += 1) {
      const hog = await transmitting(t, server.port, { from: HOG }).catch(() => undefined);
      assert.equal(hog === undefined, count >= 19, String(count));
    }
    const honest = await transmitting(t, server.port, { from: HONEST });
    assert.equal((await honest.read(0, 10)).error, 0);
    assert.equal((await root.read(0, 10)).error, 0);
  });
});

for (const [way, siteOf] of WAYS)
  it(`a connection of the address that holds most is cut off, not ended as if it were whole, ${way}`, async (t) => {
    const server = await serving(t, siteOf({ '/big': Buffer.alloc(16 * MIB), '/x': 'x' }), {
      maxConnections: 2,
    });
    const hogs = [await dial(t, server.port, HOG), await dial(t, server.port, HOG)];
    for (const hog of hogs) {
      hog.pause();
      hog.write(get('/big'));
    }
    await server.event('started', ({ id }) => id === 2);
    const text = await raw(t, server.port, last('/x'));
    assert.match(text, /^HTTP\/1\.1 200 /);
    const { bytes } = await server.event('ended', ({ outcome }) => outcome === 'gave-way');
    assert.ok(bytes < 16 * MIB);
  });
