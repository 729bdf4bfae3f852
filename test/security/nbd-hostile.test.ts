import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { type TestContext, test } from 'node:test';
import { encodeNbdClientFlags } from '../../src/formats/net/nbd.ts';
import { encodeNbdOption } from '../../src/formats/net/nbd-option.ts';
import { NBD_REFUSED } from '../../src/formats/net/nbd-option-reply.ts';
import { encodeNbdRequest, NBD_COMMAND } from '../../src/formats/net/nbd-request.ts';
import { DEFAULT_NBD_LIMITS } from '../../src/serve/nbd/nbd-types.ts';
import {
  type Client,
  content,
  dial,
  memoryExports,
  nbd,
  type Running,
  transmitting,
} from '../serve/nbd/nbd-harness.ts';

const MIB = 1024 * 1024;
const DATA = content(8 * MIB);
const exports = (atOnce = false) => memoryExports({ root: { data: DATA, atOnce } });
/** What is in the page cache is read without a thread: nothing is waited for then. */
const WAYS = [
  ['of what a thread reads', false],
  ['of what is in memory', true],
] as const;
const PATIENT = { handshakeTimeoutMs: 60_000, stallTimeoutMs: 60_000 };

async function stillServes(t: TestContext, server: Running): Promise<void> {
  const client = await transmitting(t, server.port, { structured: true });
  assert.ok((await client.read(5, 100_000)).data.equals(DATA.subarray(5, 100_005)));
  client.socket.destroy();
  assert.deepEqual(server.errors, []);
}

const GARBAGE: readonly (readonly [string, string])[] = [
  ['client flags that are none', '80000003'],
  ['an HTTP request', Buffer.from('GET / HTTP/1.1\r\n\r\n').toString('hex')],
  ['an option with a wrong magic number', `00000003 ${'41'.repeat(16)}`],
  ['one wrong byte of a magic number', '00000003 4a'],
  ['an option of 4 GiB', '00000003 49484156454f5054 00000001 ffffffff'],
  ['an option of one byte too many', '00000003 49484156454f5054 00000063 00004001'],
  ['EXPORT_NAME with a NUL', '00000003 49484156454f5054 00000001 00000002 6100'],
];

test('garbage in the handshake ends it, and nothing else', async (t) => {
  const server = await nbd(t, exports(), PATIENT);
  for (const [what, hex] of GARBAGE) {
    const client = await dial(t, server.port);
    client.socket.write(Buffer.from(hex.replace(/ /g, ''), 'hex'));
    assert.equal((await client.rest()).length, 18, `${what}: nothing but the greeting`);
  }
  await stillServes(t, server);
});

const BAD_REQUESTS: readonly (readonly [string, Buffer])[] = [
  ['a wrong magic number', Buffer.alloc(28, 0x41)],
  ['a reply instead of a request', Buffer.concat([Buffer.from('67446698', 'hex'), Buffer.alloc(24)])],
  ['an extended request', Buffer.concat([Buffer.from('21e41c71', 'hex'), Buffer.alloc(28)])],
  [
    'a WRITE of 4 GiB',
    encodeNbdRequest({ flags: 0, command: NBD_COMMAND.write, cookie: 1n, offset: 0, length: 0xffffffff }),
  ],
];

test('garbage in the transmission ends it, and nothing else', async (t) => {
  const server = await nbd(t, exports(), PATIENT);
  for (const [what, bytes] of BAD_REQUESTS) {
    const client = await transmitting(t, server.port);
    client.socket.write(bytes);
    assert.equal((await client.rest()).length, 0, what);
  }
  const endings = server.events.flatMap((event) => (event.kind === 'ended' ? [event.outcome] : []));
  assert.deepEqual([...new Set(endings)], ['protocol']);
  await stillServes(t, server);
});

/** Bytes that are the same in every run. */
function noise(seed: string, length: number): Buffer {
  const blocks: Buffer[] = [];
  for (let index = 0; index * 32 < length; index += 1) {
    blocks.push(createHash('sha256').update(`${seed} ${index}`).digest());
  }
  return Buffer.concat(blocks).subarray(0, length);
}

for (const [way, atOnce] of WAYS) {
  test(`noise behind every valid beginning throws nothing, ${way}`, async (t) => {
    const tested = exports(atOnce);
    const server = await nbd(t, tested, PATIENT);
    const go = encodeNbdOption({ kind: 'go', name: '', wants: [] });
    const request = encodeNbdRequest({ flags: 0, command: 0, cookie: 1n, offset: 0, length: 70_000 });
    const stem = Buffer.concat([encodeNbdClientFlags(3), go, request]);
    for (let length = 0; length <= stem.length; length += 1) {
      const client = await dial(t, server.port);
      client.socket.end(Buffer.concat([stem.subarray(0, length), noise(String(length), 300)]));
      await client.rest();
      client.socket.destroy();
    }
    await stillServes(t, server);
  });

  test(`a session one byte at a time is a session, ${way}`, async (t) => {
    const server = await nbd(t, exports(atOnce), PATIENT);
    const client = await dial(t, server.port);
    const read = encodeNbdRequest({ flags: 0, command: 0, cookie: 7n, offset: 3, length: 5 });
    const write = encodeNbdRequest({ flags: 0, command: 1, cookie: 8n, offset: 0, length: 3 });
    const stem = [
      encodeNbdClientFlags(3),
      encodeNbdOption({ kind: 'list' }),
      encodeNbdOption({ kind: 'go', name: 'root', wants: [3] }),
    ];
    for (const octet of Buffer.concat([...stem, read, write, Buffer.from('abc'), read])) {
      client.socket.write(Buffer.from([octet]));
      // Each in a segment of its own.
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.hear(18 + 28 + 20 + (20 + 12) + (20 + 14) + 20);
    const reply = `67446698000000000000000000000007${DATA.subarray(3, 8).toString('hex')}`;
    const refused = '67446698000000010000000000000008';
    assert.equal((await client.hear(58)).toString('hex'), `${reply}${refused}${reply}`);
  });
}

test('a handshake that takes too long ends, whether silent or a byte at a time', async (t) => {
  const server = await nbd(t, exports(), { handshakeTimeoutMs: 60 });
  const silent = await dial(t, server.port);
  const slow = await dial(t, server.port);
  await slow.greet();
  const timer = setInterval(() => slow.socket.write(Buffer.from([0x49])), 25);
  t.after(() => clearInterval(timer));
  await Promise.all([silent.rest(), slow.rest()]);
  await server.event('turned-away', ({ reason }) => reason === 'too-slow');
});

test('a client that asks for lists and never listens is not listened to', async (t) => {
  const many = Object.fromEntries(
    Array.from({ length: 500 }, (_, index) => [`export ${index}`, { data: DATA }]),
  );
  const server = await nbd(t, memoryExports(many), { handshakeTimeoutMs: 400 });
  const client = await dial(t, server.port);
  client.socket.pause();
  client.socket.write(encodeNbdClientFlags(3));
  const list = encodeNbdOption({ kind: 'list' });
  client.socket.write(Buffer.concat(Array.from({ length: 20_000 }, () => list)));
  assert.equal((await server.event('turned-away')).reason, 'too-slow');
});

for (const [way, atOnce] of WAYS) {
  test(`a client that asks for reads and never listens is held, and dropped in the end, ${way}`, async (t) => {
    const tested = exports(atOnce);
    const limits = { stallTimeoutMs: 200, maxConnectionBytes: MIB };
    const server = await nbd(t, tested, limits);
    for (const length of [4096, 300_000, 8 * MIB]) {
      const client = await transmitting(t, server.port, { structured: true });
      const { id } = await server.event(
        'started',
        (event) => !server.events.some((each) => each.kind === 'ended' && each.id === event.id),
      );
      client.socket.pause();
      const before = tested.bytes;
      const requests = Array.from({ length: 20_000 }, () => client.requestBytes({ length }));
      client.socket.write(Buffer.concat(requests));
      const closed = await server.event('ended', (event) => event.id === id);
      assert.equal(closed.outcome, 'stalled');
      // What the kernel took, and what was held when it took no more.
      assert.ok(
        tested.bytes - before <= closed.bytes + 2 * MIB,
        `${tested.bytes - before} of ${closed.bytes}`,
      );
      client.socket.destroy();
    }
    assert.equal(server.heldBytes, 0);
    assert.equal(tested.opened, 0);
    await stillServes(t, server);
  });

  test(`clients that never listen cannot keep the memory of all, ${way}`, async (t) => {
    const limits = { ...PATIENT, bufferBytes: 2 * MIB, maxConnectionBytes: MIB, pressureTimeoutMs: 50 };
    let most = 0;
    const before = (): void => {
      most = Math.max(most, server.heldBytes);
    };
    const server = await nbd(t, memoryExports({ root: { data: DATA, before, atOnce } }), limits);
    for (let count = 0; count < 40; count += 1) {
      const client = await transmitting(t, server.port);
      client.socket.pause();
      for (let index = 0; index < 10; index += 1) client.request({ length: 8 * MIB });
    }
    const good = await transmitting(t, server.port, { structured: true });
    assert.ok((await good.read(0, 3 * MIB)).data.equals(DATA.subarray(0, 3 * MIB)));
    assert.ok(most > MIB && most <= limits.bufferBytes, `${most} bytes`);
    assert.equal((await server.event('ended')).outcome, 'stalled');
  });

  test(`clients that leave in the middle of a reply leave nothing behind, ${way}`, async (t) => {
    const tested = exports(atOnce);
    const server = await nbd(t, tested);
    const before = (await readdir('/proc/self/fd')).length;
    for (let count = 0; count < 20; count += 1) {
      const client = await transmitting(t, server.port, { structured: count % 2 === 0 });
      for (let index = 0; index < 5; index += 1) client.request({ length: 8 * MIB - count });
      await client.hear(100_000);
      if (count % 4 < 2) client.socket.resetAndDestroy();
      else client.socket.destroy();
      const { outcome } = await server.event('ended', ({ id }) => id === count + 1);
      assert.equal(outcome, 'client-gone');
    }
    assert.equal(tested.opened, 0);
    assert.equal(server.heldBytes, 0);
    assert.ok((await readdir('/proc/self/fd')).length <= before);
    await stillServes(t, server);
  });
}

test('a client cannot leave its WRITE open for more than nothing', async (t) => {
  const server = await nbd(t, exports());
  const client = await transmitting(t, server.port);
  client.request({ command: NBD_COMMAND.write, length: 32 * MIB });
  client.socket.write(Buffer.alloc(MIB));
  await stillServes(t, server);
  assert.equal(server.heldBytes, 0);
  client.socket.destroy();
});

test('thousands of idle connections hold no memory and no descriptor but their sockets', async (t) => {
  const tested = exports();
  const COUNT = 2000;
  const server = await nbd(t, tested, PATIENT);
  const clients: Client[] = [];
  const open = (await readdir('/proc/self/fd')).length;
  const { arrayBuffers } = process.memoryUsage();
  while (clients.length < COUNT) {
    const more = Array.from({ length: 100 }, () => transmitting(t, server.port));
    clients.push(...(await Promise.all(more)));
  }
  assert.equal(server.connections, COUNT);
  assert.equal(server.heldBytes, 0);
  // Both ends of every connection are in this process.
  assert.ok((await readdir('/proc/self/fd')).length <= open + 2 * COUNT);
  assert.ok(process.memoryUsage().arrayBuffers - arrayBuffers < COUNT * 4096);
  await stillServes(t, server);
  for (const client of clients) client.socket.destroy();
});

/** Connects so often, says nothing, and tells how many were greeted once each was or was closed. Ends with its input. */
const SILENT_CROWD = `
const [port, count] = process.argv.slice(1).map(Number);
let greeted = 0, done = 0, started = 0;
const settle = () => { if (++done === count) console.log(greeted); else if (started < count) start(); };
const start = () => {
  started += 1;
  const socket = require('node:net').connect(port, '127.0.0.1');
  let heard = false;
  socket.on('error', () => {});
  socket.once('data', () => { heard = true; greeted += 1; settle(); });
  socket.once('close', () => { if (!heard) settle(); });
};
for (let at = 0; at < 100; at += 1) start();
process.stdin.on('end', () => process.exit()).resume();
`;

test('of more than ten thousand connections that say nothing ten thousand are let in, and cost next to nothing', async (t) => {
  const { maxConnections, maxToldRefusals } = DEFAULT_NBD_LIMITS;
  const server = await nbd(t, exports(), PATIENT);
  const kept = await transmitting(t, server.port);
  const { arrayBuffers } = process.memoryUsage();
  // In a process of its own: many systems allow a process some 20,000 descriptors.
  const count = maxConnections + maxToldRefusals + 200;
  const crowd = spawn(process.execPath, ['-e', SILENT_CROWD, String(server.port), String(count)]);
  t.after(() => crowd.kill());
  const [greeted] = (await once(crowd.stdout, 'data')) as [Buffer];
  assert.ok(Number(greeted) >= maxConnections - 1, `${Number(greeted)} greeted`);
  assert.equal(server.connections, maxConnections);
  assert.equal(server.heldBytes, 0);
  assert.ok(process.memoryUsage().arrayBuffers - arrayBuffers < maxConnections * 4096);
  assert.equal((await kept.read(0, 10)).error, 0);
  crowd.stdin.end();
  await once(crowd, 'exit');
  kept.socket.destroy();
});

/** What a client is told that is one too many. */
async function told(client: Client): Promise<string> {
  await client.greet();
  const [answer] = await client.ask({ kind: 'go', name: '', wants: [] });
  assert.ok(answer?.kind === 'refused' && answer.type === NBD_REFUSED.policy, JSON.stringify(answer));
  return answer.message;
}

test('connections of the address that holds most are told so where there is no room, and beyond a bound not even that', async (t) => {
  const server = await nbd(t, exports(), { maxConnections: 2, maxToldRefusals: 1 });
  const kept = [await transmitting(t, server.port), await transmitting(t, server.port)];
  const extra = await dial(t, server.port);
  assert.match(await told(extra), /too many connections$/);
  assert.equal((await server.event('turned-away')).reason, 'too-many');
  // The newer one has its place there.
  const more = await dial(t, server.port);
  assert.match(await told(more), /too many connections$/);
  await extra.rest();
  assert.equal((await kept[0]?.read(0, 10))?.error, 0);
  assert.equal(server.connections, 2);
  // EXPORT_NAME has no words for it.
  more.socket.write(encodeNbdOption({ kind: 'export-name', name: '' }));
  assert.equal((await more.rest()).length, 0);
  kept[0]?.socket.destroy();
  await server.event('ended', ({ id }) => id === 1);
  assert.equal((await (await transmitting(t, server.port)).read(0, 10)).error, 0);
});
