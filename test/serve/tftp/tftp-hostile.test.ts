import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { Refusal } from '../../../src/errors/refusal.ts';
import { encodeTftp } from '../../../src/formats/net/tftp.ts';
import type { Site } from '../../../src/release/site.ts';
import { memorySite, type TestSite } from '../sites.ts';
import { ack, fetchFile, type Running, rawSocket, rrq, tftp } from './tftp-harness.ts';

const DATA = Buffer.from(Array.from({ length: 50_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff));
const PATIENT = { retransmitMs: 60_000 };
const site = (): TestSite => memorySite({ '/file': DATA });

async function stillServes(t: TestContext, server: Running): Promise<void> {
  const got = await fetchFile(t, server.port, 'file', { options: { blksize: '1468', windowsize: '8' } });
  assert.ok(got.data.equals(DATA));
  assert.deepEqual(server.errors, []);
}

/** What each datagram is answered with on the known port: the code of an ERROR, or nothing. */
const STRAYS: readonly [string, Buffer, number | undefined][] = [
  ['no bytes', Buffer.alloc(0), undefined],
  ['one byte', Buffer.from([0]), undefined],
  ['an opcode alone', Buffer.from([0, 9]), undefined],
  ['three bytes', Buffer.from([0, 4, 0]), undefined],
  ['half a request', Buffer.from([0, 1]), 4],
  ['opcode 0', Buffer.from([0, 0, 0, 0]), 4],
  ['an unknown opcode', Buffer.from([0, 9, 0, 0]), 4],
  ['65507 bytes of nothing', Buffer.alloc(65_507, 0xff), 4],
  ['a request that is too long', Buffer.from(`\0\x01${'a'.repeat(600)}\0octet\0`), 4],
  ['a request of 65507 bytes', Buffer.from(`\0\x01${'a'.repeat(65_498)}\0octet\0`), 4],
  ['a name with an escape', Buffer.from('\0\x01\x1b[2J\0octet\0'), 4],
  ['an option twice', Buffer.from('\0\x01file\0octet\0tsize\x000\0TSIZE\x000\0'), 4],
  ['an ACK of no transfer', Buffer.from([0, 4, 0, 0]), 5],
  ['DATA of no transfer', Buffer.from([0, 3, 0, 1, 65]), 5],
  ['an ERROR', Buffer.from('\0\x05\0\x04loop\0'), undefined],
];

for (const singlePort of [false, true]) {
  const how = singlePort ? 'single port' : 'own ports';

  test(`stray datagrams to the known port, ${how}`, async (t) => {
    const server = await tftp(t, site(), { singlePort, limits: PATIENT });
    for (const [what, bytes, code] of STRAYS) {
      const raw = await rawSocket(t);
      raw.say(bytes, server.port);
      // A request that is always refused: its answer follows whatever the stray was answered with.
      raw.say({ ...rrq('mark'), kind: 'wrq' }, server.port);
      const { packet } = await raw.hear();
      assert.equal(packet.kind === 'error' && packet.code, code ?? 2, what);
      if (code !== undefined) await raw.hear();
      assert.equal(raw.unheard, 0, what);
      raw.close();
    }
    await stillServes(t, server);
  });

  test(`a stranger at a transfer's port is told ERROR 5 and the transfer goes on, ${how}`, async (t) => {
    const server = await tftp(t, site(), { singlePort, limits: PATIENT });
    const raw = await rawSocket(t);
    const stranger = await rawSocket(t);
    raw.say(rrq('file'), server.port);
    const { port } = (await raw.hear()).from;
    for (const what of [ack(1), Buffer.from([0, 3, 0, 1])]) {
      stranger.say(what, port);
      const { packet } = await stranger.hear();
      assert.equal(packet.kind === 'error' && packet.code, 5);
    }
    stranger.say({ kind: 'error', code: 0, message: 'die' }, port);
    raw.say(ack(1), port);
    const { packet } = await raw.hear();
    assert.equal(packet.kind === 'data' && packet.block, 2);
    assert.equal(stranger.unheard, 0);
    await stillServes(t, server);
  });

  test(`runts within a transfer are ignored, an opcode out of place ends it, ${how}`, async (t) => {
    const server = await tftp(t, site(), { singlePort, limits: PATIENT });
    for (const bad of [
      Buffer.from([0, 9, 0, 0]),
      Buffer.from([0, 3, 0, 1, 65]),
      Buffer.from('\0\x06a\0b\0'),
    ]) {
      const raw = await rawSocket(t);
      raw.say(rrq('file'), server.port);
      const { port } = (await raw.hear()).from;
      for (const runt of [[], [0], [0, 4], [0, 4, 0], [1, 2, 3]]) raw.say(Buffer.from(runt), port);
      raw.say(ack(1), port);
      const { packet } = await raw.hear();
      assert.equal(packet.kind === 'data' && packet.block, 2);
      raw.say(bad, port);
      const last = (await raw.hear()).packet;
      assert.equal(last.kind === 'error' && last.code, 4);
    }
    await stillServes(t, server);
  });

  test(`ten thousand half-open transfers, ${how}`, async (t) => {
    const served = site();
    const limits = { ...PATIENT, maxTransfers: 64 };
    const server = await tftp(t, served, { singlePort, limits });
    // Each request differs, so that none is the repetition of another.
    let asked = 0;
    let most = 0;
    const sockets = await Promise.all(Array.from({ length: 100 }, () => rawSocket(t)));
    for (let round = 0; round < 100; round += 1) {
      for (const raw of sockets) {
        raw.say(rrq('file', { blksize: '1468', x: String(round) }), server.port);
        asked += 1;
      }
      // Every one of this round is answered before the next: none is lost in a full socket buffer.
      await Promise.all(sockets.map((raw) => raw.hear()));
      most = Math.max(most, server.transfers);
    }
    assert.equal(asked, 10_000);
    assert.ok(most <= 64, `${most} at a time`);
    assert.equal(served.trace.opened, 0);
    const retired = server.events.flatMap((event) => (event.kind === 'ended' ? [event.outcome] : []));
    assert.ok(retired.length >= 9_900);
    assert.deepEqual([...new Set(retired)], ['gave-way']);
    await stillServes(t, server);
  });

  test(`answered transfers are not put out; one too many is told so, ${how}`, async (t) => {
    const limits = { ...PATIENT, maxTransfers: 3 };
    const server = await tftp(t, site(), { singlePort, limits });
    const running = [];
    for (let count = 0; count < 3; count += 1) {
      const raw = await rawSocket(t);
      raw.say(rrq('file'), server.port);
      const { port } = (await raw.hear()).from;
      raw.say(ack(1), port);
      await raw.hear();
      running.push({ raw, port });
    }
    const late = await rawSocket(t);
    late.say(rrq('file'), server.port);
    const { packet } = await late.hear();
    assert.equal(packet.kind === 'error' && packet.code, 0);
    for (const { raw, port } of running) raw.say({ kind: 'error', code: 0, message: '' }, port);
    for (const { raw } of running) await server.event('ended', ({ port }) => port === raw.port);
    await stillServes(t, server);
  });
}

test('a transfer that fell silent makes room, one that moves does not', async (t) => {
  const limits = { retransmitMs: 5, maxRetries: 1_000, maxTransfers: 1 };
  const server = await tftp(t, site(), { limits });
  const silent = await rawSocket(t);
  silent.say(rrq('file'), server.port);
  const { port } = (await silent.hear()).from;
  silent.say(ack(1), port);
  // Block 2, and its retransmissions.
  for (let count = 0; count < 4; count += 1) await silent.hear();
  await stillServes(t, server);
  assert.equal((await server.event('ended')).outcome, 'gave-way');
});

test('a site that fails, and one that fails later, cost one ERROR each', async (t) => {
  const working = site();
  const failing: Site = {
    async find(path) {
      if (path === '/throws') throw new Error('the disk is on fire at /var/lib/secret');
      if (path === '/stale') return new Refusal('stale', 'It is stale at /var/lib/secret.');
      const found = await working.find('/file');
      if (found instanceof Refusal || path === '/file') return found;
      return {
        ...found,
        async open() {
          if (path === '/open') throw new Error('EMFILE: /var/lib/secret');
          const open = await found.open();
          return {
            read: async (buffer, position) => {
              if (path === '/read') throw new Error('EIO: /var/lib/secret');
              return path === '/short' ? 0 : open.read(buffer, position);
            },
            check: () => open.check(),
            close: () => open.close(),
          };
        },
      };
    },
  };
  const server = await tftp(t, failing, { limits: PATIENT });
  for (const path of ['throws', 'stale', 'open', 'read', 'short']) {
    const raw = await rawSocket(t);
    raw.say(rrq(path), server.port);
    const { packet } = await raw.hear();
    assert.equal(packet.kind === 'error' && packet.code, 0, path);
    assert.doesNotMatch(packet.kind === 'error' ? packet.message : '', /secret/);
  }
  assert.equal(server.errors.length, 3);
  const got = await fetchFile(t, server.port, 'file');
  assert.ok(got.data.equals(DATA));
  await working.allClosed();
  assert.equal(server.heldBytes, 0);
});

test('one address that holds every transfer, and acknowledges now and then, gives one to another address', async (t) => {
  const limits = { ...PATIENT, maxTransfers: 8 };
  const server = await tftp(t, site(), { limits });
  const hog = createSocket('udp4');
  const crowd = [hog, ...Array.from({ length: 11 }, () => createSocket('udp4'))];
  let turnedAway = 0;
  for (const socket of crowd) {
    t.after(() => socket.close());
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.66', resolve));
    const heard = once(socket, 'message');
    socket.send(encodeTftp(rrq('file')), server.port, '127.0.0.1');
    const [bytes, { port }] = (await heard) as [Buffer, { port: number }];
    if (bytes[1] === 5) {
      turnedAway += 1;
      continue;
    }
    const next = once(socket, 'message');
    socket.send(encodeTftp(ack(1)), port, '127.0.0.1');
    await next;
  }
  assert.deepEqual([server.transfers, turnedAway], [8, 4]);
  await stillServes(t, server);
  const gave = await server.event('ended', ({ outcome }) => outcome === 'gave-way');
  assert.equal(gave.remote, '127.0.0.66');
});
