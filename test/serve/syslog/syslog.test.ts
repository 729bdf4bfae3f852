import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { describe, it, type TestContext } from 'node:test';
import { ListenError } from '../../../src/serve/listen.ts';
import { Shares } from '../../../src/serve/shares.ts';
import { type SyslogOptions, startSyslog } from '../../../src/serve/syslog/syslog.ts';
import { takeDown } from '../events.ts';

const LINE = '<6>lab7.lan.example ipxe: ';

async function hearing(t: TestContext, change: Partial<SyslogOptions> = {}) {
  const { told, emit } = takeDown();
  const options = { bind: ['127.0.0.1', '::1'], port: 0, shares: new Shares(), emit, now: () => 0 };
  const receiver = await startSyslog({ ...options, ...change });
  t.after(() => receiver.close());
  return { receiver, told };
}

/** A machine at an address. */
async function machine(t: TestContext, port: number, from = '127.0.0.1') {
  const ipv6 = from.includes(':');
  const socket = createSocket(ipv6 ? 'udp6' : 'udp4');
  socket.bind(0, from);
  await once(socket, 'listening');
  t.after(() => socket.close());
  return (bytes: string | Uint8Array) =>
    new Promise<void>((resolve, reject) =>
      socket.send(bytes, port, ipv6 ? '::1' : '127.0.0.1', (error) => (error ? reject(error) : resolve())),
    );
}

describe('what loaders write on their consoles', () => {
  it('is told as it comes, at every address, and who says it', async (t) => {
    const { receiver, told } = await hearing(t);
    for (const from of ['127.0.0.1', '127.0.0.2', '::1']) {
      const say = await machine(t, receiver.port, from);
      await say(`${LINE}Configuring (net0 52:54:00:91:00:01)...... ok`);
      await say(LINE);
      await say(`${LINE}http://10.0.0.1/boot.ipxe... \x1b[31mok`);
      const last = await told.event('console', ({ remote, text }) => remote === from && /boot/.test(text));
      assert.equal(last.text, 'http://10.0.0.1/boot.ipxe... \\x1b[31mok');
    }
    assert.deepEqual(told.events.slice(0, 2), [
      {
        ...{ kind: 'console', server: 'syslog', remote: '127.0.0.1', mac: '52:54:00:91:00:01' },
        text: 'Configuring (net0 52:54:00:91:00:01)...... ok',
      },
      {
        ...{ kind: 'console', server: 'syslog', remote: '127.0.0.1' },
        text: 'http://10.0.0.1/boot.ipxe... \\x1b[31mok',
      },
    ]);
    assert.equal(told.events.length, 6);
    assert.deepEqual(
      receiver.bound.map(({ address }) => address),
      ['127.0.0.1', '::1'],
    );
  });

  it('ends when it is closed, and holds its port alone', async (t) => {
    const { receiver, told } = await hearing(t);
    await assert.rejects(hearing(t, { port: receiver.port }), ListenError);
    await Promise.all([receiver.close(), receiver.close()]);
    await (await hearing(t, { port: receiver.port })).receiver.close();
    assert.deepEqual(told.events, []);
  });
});
