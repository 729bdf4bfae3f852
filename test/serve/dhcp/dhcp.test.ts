import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { NetworkInterfaceInfo } from 'node:os';
import { describe, it, type TestContext } from 'node:test';
import { UsageError } from '../../../src/errors/usage.ts';
import { type DhcpPacket, decodeDhcp } from '../../../src/formats/net/dhcp.ts';
import { messageType } from '../../../src/formats/net/dhcp-values.ts';
import { decodeIpPrefix } from '../../../src/formats/net/ip-address.ts';
import { type ProxyDhcpOptions, startProxyDhcp } from '../../../src/serve/dhcp/dhcp.ts';
import type { InterfaceTable } from '../../../src/serve/dhcp/dhcp-interfaces.ts';
import { ListenError } from '../../../src/serve/listen.ts';
import {
  bareDiscover,
  firmwareAt4011,
  firmwarePxe,
  ipxeRom,
  sentPacket,
} from '../../fixtures/dhcp-clients.ts';
import { takeDown } from '../events.ts';

const EVERYBODY = '255.255.255.255';
const at = (address: string, cidr = `${address}/8`): NetworkInterfaceInfo => ({
  ...{ address, netmask: '255.0.0.0', family: 'IPv4', mac: '00:00:00:00:00:00', internal: true, cidr },
});

/** On loopback, at ports of their own: broadcasts stay on it. */
async function starting(t: TestContext, change: Partial<ProxyDhcpOptions> = {}) {
  const ports = { server: await freePort(), client: await freePort(), bootServer: await freePort() };
  const { told, emit } = takeDown();
  const table = { current: { net0: [at('127.0.0.1')] } as InterfaceTable };
  const server = await startProxyDhcp({
    interfaces: ['net0'],
    loaders: () =>
      new Map([
        ['ipxe-bios', { via: 'tftp', path: 'undionly.kpxe' }],
        ['x64', { via: 'http', path: 'x64.efi' }],
      ] as const),
    httpPort: 8080,
    emit,
    table: () => table.current,
    ports,
    ...change,
  });
  t.after(() => server.close());
  return { server, told, table, ports, client: await startClient(t, ports) };
}

/** A machine: it asks all, and hears what is sent to all and to its own address. */
async function startClient(t: TestContext, { server, client, bootServer }: ProxyDhcpPorts) {
  const heard: [packet: DhcpPacket, from: RemoteInfo][] = [];
  const waiting = new Set<() => void>();
  const hear = (bytes: Buffer, from: RemoteInfo): void => {
    heard.push([decodeDhcp(bytes), from]);
    for (const look of waiting) look();
  };
  const all = await open(t, EVERYBODY, client);
  const own = await open(t, '127.0.0.1', client);
  own.setBroadcast(true);
  all.on('message', hear);
  own.on('message', hear);
  const send = (bytes: Uint8Array, port: number, address: string) =>
    new Promise<void>((resolve, reject) =>
      own.send(bytes, port, address, (error) => (error ? reject(error) : resolve())),
    );
  return {
    heard,
    ask: (bytes: Uint8Array) => send(bytes, server, EVERYBODY),
    tell: (bytes: Uint8Array, address = '127.0.0.1') => send(bytes, server, address),
    askBootServer: (bytes: Uint8Array) => send(bytes, bootServer, '127.0.0.1'),
    /** The answer with this transaction. */
    answer: (xid: number) =>
      new Promise<readonly [DhcpPacket, RemoteInfo]>((resolve) => {
        const look = (): void => {
          const found = heard.find(([packet]) => packet.xid === xid);
          if (found === undefined) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
      }),
  };
}

type ProxyDhcpPorts = NonNullable<ProxyDhcpOptions['ports']>;

async function open(t: TestContext, address: string, port: number, reuseAddr = true): Promise<Socket> {
  const socket = createSocket({ type: 'udp4', reuseAddr });
  await new Promise<void>((resolve) => socket.bind({ address, port }, resolve));
  t.after(() => socket.close());
  return socket;
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  const { port } = socket.address();
  socket.close();
  await once(socket, 'close');
  return port;
}

describe('the ProxyDHCP server', () => {
  it('answers to all, from port 67 of its address, and tells it', async (t) => {
    const { client, told, ports } = await starting(t);
    await client.ask(ipxeRom({ xid: 7 }));
    const [packet, from] = await client.answer(7);
    assert.deepEqual([packet.op, messageType(packet.options), packet.file], [2, 2, 'undionly.kpxe']);
    assert.deepEqual([from.address, from.port], ['127.0.0.1', ports.server]);
    const offered = await told.event('offered');
    assert.deepEqual(
      { ...offered },
      {
        ...{ kind: 'offered', server: 'dhcp', message: 'offer', client: 'ipxe-bios', remote: '127.0.0.1' },
        ...{ mac: '52:54:00:89:00:02', known: false, again: false, interface: 'net0', from: '127.0.0.1' },
        ...{ file: 'undionly.kpxe', uuid: '11223344-5566-7788-99aa-bbccddeeff00' },
      },
    );
  });

  it('answers a question that is asked again, and tells that it is the same', async (t) => {
    const { client, told } = await starting(t);
    for (let count = 0; count < 3; count += 1) await client.ask(ipxeRom({ xid: 8 }));
    // What was sent after it is answered after it.
    await client.ask(ipxeRom({ xid: 88 }));
    await client.answer(88);
    assert.deepEqual(
      told.events.map((event) => 'again' in event && event.again),
      [false, true, true, false],
    );
    assert.equal(client.heard.length, 4);
  });

  it('answers at port 4011, from there, to the port that asked', async (t) => {
    const { client, ports } = await starting(t);
    await client.askBootServer(firmwareAt4011(7, { ciaddr: '127.0.0.1', xid: 9 }));
    const [packet, from] = await client.answer(9);
    assert.deepEqual([messageType(packet.options), packet.file], [5, 'http://127.0.0.1:8080/x64.efi']);
    assert.deepEqual([from.address, from.port], ['127.0.0.1', ports.bootServer]);
  });

  it('says why it says nothing', async (t) => {
    const { client, told } = await starting(t);
    await client.ask(Buffer.from('hello'));
    await client.ask(ipxeRom().subarray(0, 250));
    await client.ask(bareDiscover());
    await client.ask(firmwarePxe(0, { op: 2 }));
    await client.ask(firmwarePxe(11));
    await client.ask(sentPacket({}, '350101 3c095058450a1b5b324a07 5d020007'));
    await client.ask(ipxeRom({ giaddr: '127.0.0.9', hops: 1 }));
    await told.event('silent', ({ reason }) => reason === 'unknown-relay');
    assert.deepEqual(
      told.events.map((event) => event.kind === 'silent' && [event.reason, event.mac, event.said]),
      [
        ['malformed', '', 'DHCP: fewer than 240 bytes'],
        ['malformed', '', 'DHCP: option 93 goes past the end of its field (at byte 247)'],
        ['not-pxe', '52:54:00:89:00:02', ''],
        ['not-a-request', '52:54:00:89:00:03', 'PXEClient:Arch:00000:UNDI:003000'],
        ['no-loader', '52:54:00:89:00:03', 'PXEClient:Arch:00011:UNDI:003000'],
        ['not-pxe', '52:54:00:89:00:02', 'PXE\\u000a\\u001b[2J\\u0007'],
        ['unknown-relay', '52:54:00:89:00:02', 'PXEClient:Arch:00000:UNDI:002001'],
      ],
    );
    assert.equal(client.heard.length, 0);
  });

  it('hears a relay only where relays are configured, and answers to its port 67', async (t) => {
    const { client, ports, told } = await starting(t, { relays: [decodeIpPrefix('127.0.0.0/8')] });
    const relay = await open(t, '127.0.0.7', ports.server);
    const answered = once(relay, 'message') as Promise<[Buffer, RemoteInfo]>;
    await client.tell(firmwarePxe(7, { giaddr: '127.0.0.7', hops: 1, broadcast: false, xid: 10 }));
    const [bytes] = await answered;
    const packet = decodeDhcp(bytes);
    assert.deepEqual([packet.xid, packet.giaddr, packet.broadcast], [10, '127.0.0.7', true]);
    // Its own answer, that somebody sends back.
    await client.tell(bytes);
    await told.event('silent', ({ reason }) => reason === 'not-a-request');
  });

  it('answers a known machine while strangers flood', async (t) => {
    const enrolled = '52:54:00:00:00:01';
    const { client, told } = await starting(t, { isKnown: (mac) => mac === enrolled, now: () => 0 });
    for (let packet = 0; packet < 5000; packet += 1) {
      const mac = `52:54:01${Buffer.of(packet >> 16, packet >> 8, packet)
        .toString('hex')
        .replace(/../g, ':$&')}`;
      await client.ask(ipxeRom({ mac, xid: 1000 + packet }));
      // Both ends live in this process: what has arrived is read first.
      await new Promise(setImmediate);
      if (packet % 500 === 499) {
        const xid = 100_000 + packet;
        await client.ask(ipxeRom({ mac: enrolled, xid }));
        await client.answer(xid);
      }
    }
    const offers = told.events.filter(({ kind }) => kind === 'offered');
    assert.equal(offers.filter((event) => 'known' in event && event.known).length, 10);
    // By a clock that stands still: what a second allows, without what is kept for known machines.
    assert.equal(offers.length, 150 + 10);
    assert.ok(told.events.some((event) => event.kind === 'silent' && event.reason === 'too-many'));
  });

  it('follows an interface to its next address, and is silent while it has none', async (t) => {
    const { client, told, table, server } = await starting(t, {
      serves: (address) => address !== '127.0.0.3',
    });
    table.current = { net0: [at('127.0.0.2')] };
    await server.follow();
    await client.ask(ipxeRom({ xid: 20 }));
    const [packet, from] = await client.answer(20);
    assert.deepEqual([packet.siaddr, from.address], ['127.0.0.2', '127.0.0.2']);
    for (const gone of [{ net0: [at('127.0.0.3')] }, {}, { net0: [at('169.254.1.1', '169.254.1.1/16')] }]) {
      table.current = gone;
      await server.follow();
      await server.follow();
      assert.deepEqual(server.interfaces, []);
    }
    table.current = { net0: [at('127.0.0.1')] };
    await server.follow();
    assert.deepEqual(
      told.events.flatMap((event) => (event.kind === 'interface' ? [[event.address, event.why]] : [])),
      [
        ['127.0.0.2', undefined],
        [
          '127.0.0.3',
          'The interface net0 has the address 127.0.0.3, and nothing is served there: machines would be sent to a closed door; bind the servers to that address or to 0.0.0.0.',
        ],
        [undefined, 'The interface net0 has no IPv4 address any more.'],
        ['127.0.0.1', undefined],
      ],
    );
    await client.ask(ipxeRom({ xid: 21 }));
    assert.equal((await client.answer(21))[0].siaddr, '127.0.0.1');
  });

  it('begins on no interface that is not there, has no address, or is served by nobody', async (t) => {
    const none: NetworkInterfaceInfo[] = [];
    const table = { net0: [at('127.0.0.1')], net1: none };
    for (const [change, says] of [
      [{ interfaces: ['eth7'] }, /no interface eth7 that is up and has an address; those that have are net0/],
      [{ interfaces: ['net1'] }, /net1 has no IPv4 address/],
      [{ interfaces: ['net0', 'net0'] }, /net0 is named twice/],
      [{ interfaces: [] }, /needs an interface/],
      [{ serves: () => false }, /nothing is served there/],
    ] as const) {
      await assert.rejects(
        starting(t, { table: () => table, ...change }),
        (error) => error instanceof UsageError && says.test(error.message),
      );
    }
  });

  it('names the program that holds its port', async (t) => {
    const port = await freePort();
    const program = `
      const socket = require('node:dgram').createSocket('udp4');
      socket.bind(${port}, '0.0.0.0', () => process.stdout.write('bound'));`;
    const holder = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    t.after(() => holder.kill());
    await once(holder.stdout, 'data');
    const ports = { server: port, client: await freePort(), bootServer: await freePort() };
    await assert.rejects(starting(t, { ports }), (error) => {
      assert.ok(error instanceof ListenError);
      assert.equal(error.code, 'EADDRINUSE');
      assert.match(
        error.message,
        new RegExp(
          `^DHCP cannot listen on 255.255.255.255 port ${port}: \\S+ \\(process ${holder.pid}\\) holds that port: .*\\.$`,
        ),
      );
      return true;
    });
  });
});
