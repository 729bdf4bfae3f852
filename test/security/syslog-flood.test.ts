import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { it, type TestContext } from 'node:test';
import { Shares } from '../../src/serve/shares.ts';
import { startSyslog } from '../../src/serve/syslog/syslog.ts';
import { takeDown } from '../serve/events.ts';

/** One address sends what it can, lines and garbage of every length, and the lines of another one come through. */

async function sender(t: TestContext, from: string) {
  const socket = createSocket('udp4');
  socket.bind(0, from);
  await once(socket, 'listening');
  t.after(() => socket.close());
  return (bytes: Uint8Array, port: number) =>
    new Promise<void>((resolve) => socket.send(bytes, port, '127.0.0.1', () => resolve()));
}

const GARBAGE = [
  Buffer.alloc(0),
  Buffer.alloc(1),
  Buffer.alloc(1024, 0xff),
  Buffer.alloc(9000, '<6>ipxe: '),
  Buffer.from('<6>ipxe: \x1b]0;owned\x07\x1b[2J', 'latin1'),
  Buffer.from(`<6>${'a'.repeat(1200)}`),
  Buffer.from(`<6>${'1'.repeat(500)}>`),
  Buffer.from('<6>host ipxe: Configuring (net0 52:54:00:91:00:01)... ok'),
];

it('a flood of 20,000 datagrams costs its sender’s share, and no other', async (t) => {
  const { told, emit } = takeDown();
  let leftOut = 0;
  let now = 0;
  const receiver = await startSyslog({
    ...{ bind: '127.0.0.1', port: 0, shares: new Shares(), emit, now: () => now },
    onLeftOut: () => {
      leftOut += 1;
    },
  });
  t.after(() => receiver.close());
  const flood = await sender(t, '127.0.0.66');
  const honest = await sender(t, '127.0.0.1');
  const say = async (text: string): Promise<void> => {
    // A datagram may be lost where the socket is full: whoever boots says many.
    for (let tries = 0; tries < 50; tries += 1) {
      await honest(Buffer.from(`<6>ipxe: ${text}`), receiver.port);
      await new Promise((resolve) => setImmediate(resolve));
      if (told.events.some((event) => event.kind === 'console' && event.text === text)) return;
    }
    assert.fail(`${text} was not heard`);
  };
  for (let round = 0; round < 20; round += 1) {
    for (let batch = 0; batch < 125; batch += 1)
      await Promise.all(GARBAGE.map((bytes) => flood(bytes, receiver.port)));
    await say(`line ${round}`);
  }
  const heard = told.events.filter((event) => 'remote' in event && event.remote === '127.0.0.66');
  assert.ok(heard.length <= 400, String(heard.length));
  assert.ok(leftOut > 100, String(leftOut));
  assert.deepEqual(told.errors, []);
  for (const event of told.events) {
    assert.equal(event.kind, 'console');
    assert.match(event.kind === 'console' ? event.text : '', /^[\x20-\x7e]{1,512}$/);
  }
  // Once it is over, everybody is heard again.
  now = 60_000;
  await flood(Buffer.from('<6>ipxe: I boot, too'), receiver.port);
  await told.event('console', ({ text }) => text === 'I boot, too');
});
