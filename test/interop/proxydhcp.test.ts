import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { run } from '../../lab/command.ts';
import { DHCP_SERVERS } from '../../lab/dhcp-servers.ts';
import { CARD, createHost } from '../../lab/host.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../../lab/lan.ts';
import { waitForOutput } from '../../lab/output.ts';
import { type RunningServer, running } from '../../lab/servers.ts';
import { type KeptSocket, keeperWords, startKept, stopKept } from '../../lab/socket-keeper.ts';
import { type DhcpPacket, decodeDhcp } from '../../src/formats/net/dhcp.ts';
import { DHCP_OPTION } from '../../src/formats/net/dhcp-options.ts';
import { messageType } from '../../src/formats/net/dhcp-values.ts';
import { cliSite } from '../cli/site.ts';
import { bareDiscover, firmwareAt4011, firmwarePxe, sentPacket } from '../fixtures/dhcp-clients.ts';

/**
 * ProxyDHCP beside DHCP servers of others, on a LAN in namespaces: on the same machine and on another. One client, of
 * which tcpdump says what it hears.
 */

const script = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const EVERYBODY = '255.255.255.255';
const LOADER = Buffer.alloc(5000, 'loader');
const MAC = '52:54:00:89:00:03';

const site = await cliSite();
const loaders = join(site.folder, 'loaders');

interface Heard {
  readonly port: number;
  readonly from: string;
  readonly fromPort: number;
  readonly packet: DhcpPacket;
}

describe('ProxyDHCP beside the DHCP server of a LAN', () => {
  let lan: Lan;
  let other: Lan;
  let xid = 1;

  before(async () => {
    await mkdir(loaders);
    await writeFile(join(loaders, 'ipxe.efi'), LOADER);
    lan = await createLan();
    other = await createHost(lan, '10.77.0.2/24');
  });
  after(async () => {
    await other?.close();
    await lan?.close();
  });

  for (const [name, start] of Object.entries(DHCP_SERVERS)) {
    it(`${name} on another machine`, async () => {
      const dhcp = await start({ host: other, card: CARD, address: '10.77.0.2' });
      const product = await startProduct();
      try {
        await boots('10.77.0.2');
      } finally {
        await product.stop();
        await dhcp.stop();
      }
    });
  }

  for (const [name, productFirst] of [
    ['dnsmasq', false],
    ['dnsmasq', true],
    ['dhcpd', false],
    ['dhcpd', true],
  ] as const) {
    it(`${name} on the same machine, started ${productFirst ? 'after' : 'before'} us`, async () => {
      const place = { host: lan, card: 'br0', address: LAN_ADDRESS };
      const starts = [() => DHCP_SERVERS[name]?.(place), () => startProduct()];
      const servers: (RunningServer | undefined)[] = [];
      try {
        for (const start of productFirst ? starts.reverse() : starts) servers.push(await start());
        await boots(LAN_ADDRESS);
      } finally {
        for (const server of servers) await server?.stop();
      }
    });
  }

  it('at sockets that somebody else opened, by one server and by the next', async () => {
    const dhcp = await DHCP_SERVERS.dnsmasq?.({ host: other, card: CARD, address: '10.77.0.2' });
    const at = (address: string, port: number, name: string): KeptSocket => ({
      ...{ kind: 'datagram', address, port, name },
    });
    const sockets = [
      at(EVERYBODY, 67, 'dhcp'),
      at(LAN_ADDRESS, 67, 'dhcp'),
      at(LAN_ADDRESS, 4011, 'dhcp-pxe'),
    ];
    const words = keeperWords(sockets, [process.execPath, ...productWords()]);
    const keeper = lan.spawn('perl', words, { stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      await waitForOutput(keeper, 'stdout', /kept\n/);
      for (let time = 0; time < 2; time += 1) {
        const serving = waitForOutput(keeper, 'stdout', /^\{.*\n/m);
        const pid = await startKept(keeper);
        await serving;
        await boots('10.77.0.2');
        assert.equal(await stopKept(keeper, pid), 0);
      }
    } finally {
      await running(keeper, 'SIGKILL').stop();
      await dhcp?.stop();
    }
  });

  it('needs a socket at each address that it answers from, and says which', async () => {
    const words = keeperWords(
      [{ kind: 'datagram', address: EVERYBODY, port: 67, name: 'dhcp' }],
      [process.execPath, ...productWords()],
    );
    const keeper = lan.spawn('perl', words, { stdio: ['pipe', 'pipe', 'pipe'] });
    try {
      await waitForOutput(keeper, 'stdout', /kept\n/);
      const said = waitForOutput(
        keeper,
        'stderr',
        new RegExp(
          `none at ${LAN_ADDRESS} port 67; its socket unit needs ListenDatagram=${LAN_ADDRESS}:67\\.`,
        ),
      );
      const ended = waitForOutput(keeper, 'stdout', /ended \d+ with (\d+)\n/);
      await startKept(keeper);
      await said;
      // A wait status: the exit status is its upper byte.
      assert.equal(Number((await ended)[1]) >> 8, 2);
    } finally {
      await running(keeper, 'SIGKILL').stop();
    }
  });

  it('names a dnsmasq that takes the port for itself, and what to do', async () => {
    const holder = lan.spawn('dnsmasq', [
      ...['--conf-file=/dev/null', '--keep-in-foreground', '--log-facility=-', '--user=root', '--port=0'],
      ...['--dhcp-range=10.77.0.100,10.77.0.200,1h', `--dhcp-leasefile=${join(lan.workFolder, 'greedy')}`],
      ...['--interface=br0', `--pid-file=${join(lan.workFolder, 'greedy.pid')}`],
    ]);
    try {
      await waitForOutput(holder, 'stderr', /DHCP, IP range/);
      const { status, stderr } = await lan.execute(process.execPath, productWords());
      assert.equal(status, 3);
      assert.match(
        stderr,
        new RegExp(
          `DHCP cannot listen on .* port 67: dnsmasq \\(process ${holder.pid}\\) holds that port: .*"bind-interfaces"`,
        ),
      );
    } finally {
      await running(holder, 'SIGKILL').stop();
    }
  });

  it('names a Kea, which shares the port with nobody', async () => {
    const kea = await DHCP_SERVERS.kea?.({ host: lan, card: 'br0', address: LAN_ADDRESS });
    try {
      const { status, stderr } = await lan.execute(process.execPath, productWords());
      assert.equal(status, 3);
      assert.match(stderr, /port 67: kea-dhcp4 \(process \d+\) holds that port: .*another machine/);
    } finally {
      await kea?.stop();
    }
  });

  it('through a relay of dnsmasq, and at port 4011 from the network behind it', async () => {
    const relay = await createHost(lan, '10.77.0.3/24');
    const configuration = join(site.folder, 'relay.toml');
    await writeFile(
      configuration,
      '[proxydhcp]\nrelays = ["10.88.0.1", "10.77.0.3"]\nnetworks = ["10.88.0.0/24"]\n',
    );
    const servers: RunningServer[] = [];
    try {
      await run('ip', ['-n', lan.name, 'route', 'replace', '10.88.0.0/24', 'via', '10.77.0.3']);
      for (const step of [
        ['link', 'add', 'br0', 'type', 'bridge', 'forward_delay', '0'],
        ['addr', 'add', '10.88.0.1/24', 'dev', 'br0'],
        ['link', 'set', 'br0', 'up'],
      ]) {
        await run('ip', ['-n', relay.name, ...step]);
      }
      await relay.execute('sysctl', ['-w', 'net.ipv4.ip_forward=1']);
      servers.push(await startProduct('--config', configuration));
      const dnsmasq = relay.spawn('dnsmasq', [
        ...['--conf-file=/dev/null', '--keep-in-foreground', '--log-facility=-', '--user=root', '--port=0'],
        ...[`--dhcp-relay=10.88.0.1,${LAN_ADDRESS}`, `--pid-file=${join(relay.workFolder, 'relay.pid')}`],
      ]);
      servers.push(running(dnsmasq, 'SIGKILL'));
      await waitForOutput(dnsmasq, 'stderr', /DHCP relay from 10\.88\.0\.1 to/);
      const host = await createHost(relay);
      try {
        const client = await startClient(host);
        const discover = xid++;
        // It does not ask for a broadcast; the relay needs to be told to make one.
        client.send(firmwarePxe(7, { xid: discover, broadcast: false }));
        const offer = await client.heard(({ packet }) => packet.xid === discover);
        assert.deepEqual(
          [offer.packet.file, offer.packet.siaddr, offer.packet.giaddr],
          ['ipxe.efi', LAN_ADDRESS, '10.88.0.1'],
        );
        await run('ip', ['-n', host.name, 'addr', 'add', '10.88.0.50/24', 'dev', CARD]);
        await run('ip', ['-n', host.name, 'route', 'add', 'default', 'via', '10.88.0.1']);
        const boot = xid++;
        client.send(firmwareAt4011(7, { xid: boot, ciaddr: '10.88.0.50' }), 4011, LAN_ADDRESS, 4011);
        const ack = await client.heard(({ packet }) => packet.xid === boot);
        assert.deepEqual([ack.from, ack.packet.file], [LAN_ADDRESS, 'ipxe.efi']);
      } finally {
        await host.close();
      }
    } finally {
      for (const server of servers) await server.stop();
      await relay.close();
    }
  });

  it('on several interfaces: on each its own address, where all servers listen, and nowhere else', async () => {
    const child = lan.spawn(process.execPath, [...productWords(), '--proxydhcp', 'lo']);
    try {
      const [line] = await waitForOutput(child, 'stdout', /^.*\n/);
      const { http, tftp, dhcp } = JSON.parse(line) as {
        http: { urls: string[] };
        tftp: { urls: string[] };
        dhcp: Record<string, string>[];
      };
      assert.deepEqual(http.urls, [`http://${LAN_ADDRESS}:8080`, 'http://127.0.0.1:8080']);
      assert.deepEqual(tftp.urls, [`tftp://${LAN_ADDRESS}:69`, 'tftp://127.0.0.1:69']);
      assert.deepEqual(
        dhcp.filter(({ client }) => client === 'http-x64').map(({ loads }) => loads),
        [`http://${LAN_ADDRESS}:8080/ipxe.efi`, 'http://127.0.0.1:8080/ipxe.efi'],
      );
    } finally {
      await running(child).stop();
    }
  });

  function productWords(): string[] {
    return [
      ...[script('src/cli/main.js'), 'serve', '--tree', site.tree, '--anchors', site.anchors],
      ...['--loaders', loaders, '--proxydhcp', 'br0', '--json', '--no-nbd'],
    ];
  }

  async function startProduct(...words: readonly string[]): Promise<RunningServer> {
    const child = lan.spawn(process.execPath, [...productWords(), ...words]);
    const [line] = await waitForOutput(child, 'stdout', /^.*\n/);
    const { url, dhcp } = JSON.parse(line) as { url: string; dhcp: Record<string, string>[] };
    assert.equal(url, `http://${LAN_ADDRESS}:8080`);
    const told = (client: string) => dhcp.find((offer) => offer.client === client);
    assert.deepEqual(told('x64'), {
      ...{ interface: 'br0', address: LAN_ADDRESS, client: 'x64', loads: `tftp://${LAN_ADDRESS}/ipxe.efi` },
    });
    assert.deepEqual(told('bios'), {
      ...{ interface: 'br0', address: LAN_ADDRESS, client: 'bios', silent: 'no-loader' },
    });
    return running(child);
  }

  /** A machine with UEFI, from its first question to its loader. */
  async function boots(dhcpServer: string): Promise<void> {
    const host = await createHost(lan);
    try {
      const judge = host.spawn('tcpdump', ['-lnvvi', CARD, 'udp port 67 or udp port 68 or udp port 4011']);
      await waitForOutput(judge, 'stderr', /listening on/);
      let judged = '';
      judge.stdout?.on('data', (piece: Buffer) => {
        judged += piece.toString('latin1');
      });
      const client = await startClient(host);

      // 1. Whoever gives addresses and we both offer.
      const discover = xid++;
      client.send(firmwarePxe(7, { xid: discover }));
      const lease = await client.heard(
        ({ packet }) => packet.xid === discover && packet.yiaddr !== '0.0.0.0',
      );
      const proxy = await client.heard(
        ({ packet }) => packet.xid === discover && packet.yiaddr === '0.0.0.0',
      );
      assert.deepEqual([lease.from, messageType(lease.packet.options)], [dhcpServer, 2]);
      assert.deepEqual([proxy.from, proxy.fromPort, proxy.packet.file], [LAN_ADDRESS, 67, 'ipxe.efi']);

      // 2. The address is asked for, as always, and we keep out of it.
      const { yiaddr } = lease.packet;
      const server = Buffer.from(lease.packet.options.get(DHCP_OPTION.serverIdentifier) ?? []);
      const request = xid++;
      client.send(
        sentPacket(
          { xid: request, mac: MAC, broadcast: true, length: 300 },
          `350103 3604${server.toString('hex')} 3204${quad(yiaddr)} 3c09${Buffer.from('PXEClient').toString('hex')} 5d020007`,
        ),
      );
      const ack = await client.heard(({ packet }) => packet.xid === request);
      assert.deepEqual([ack.from, messageType(ack.packet.options)], [dhcpServer, 5]);
      await run('ip', ['-n', host.name, 'addr', 'add', `${yiaddr}/24`, 'dev', CARD]);

      // 3. At port 4011 we say the same again.
      const boot = xid++;
      client.send(firmwareAt4011(7, { xid: boot, ciaddr: yiaddr }), 4011, LAN_ADDRESS, 4011);
      const answer = await client.heard(({ packet }) => packet.xid === boot);
      assert.deepEqual([answer.port, answer.from, answer.fromPort], [4011, LAN_ADDRESS, 4011]);
      assert.deepEqual([messageType(answer.packet.options), answer.packet.file], [5, 'ipxe.efi']);

      // 4. Whoever does not boot from the network hears nothing of us.
      const bare = xid++;
      client.send(bareDiscover({ xid: bare, mac: MAC, broadcast: true }));
      await client.heard(({ packet }) => packet.xid === bare);
      const last = xid++;
      client.send(firmwarePxe(9, { xid: last }));
      await client.heard(({ packet }) => packet.xid === last && packet.yiaddr === '0.0.0.0');
      const ours = client.all.filter(({ packet }) => packet.siaddr === LAN_ADDRESS && packet.file !== '');
      assert.deepEqual(
        ours.map(({ packet }) => packet.xid),
        [discover, boot, last],
      );

      // 5. What was named is there.
      const { stdout } = await host.execute('curl', ['-s', `tftp://${LAN_ADDRESS}/ipxe.efi`]);
      assert.equal(stdout, LOADER.toString());

      // It takes 4011 for no port of DHCP.
      await until(judge, () => judged.split('file "ipxe.efi"').length > 2);
      assert.match(
        judged,
        new RegExp(`${LAN_ADDRESS}\\.67 > 255\\.255\\.255\\.255\\.68: .*BOOTP/DHCP, Reply`),
      );
      assert.match(judged, /Vendor-Class \(60\), length 9: "PXEClient"/);
      assert.match(judged, new RegExp(`Server-ID \\(54\\), length 4: ${LAN_ADDRESS}`));
      assert.doesNotMatch(judged, /\[\||invalid/);
    } finally {
      await host.close();
    }
  }
});

async function startClient(host: Lan) {
  const child = host.spawn(process.execPath, [script('lab/dhcp-client.js')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await waitForOutput(child, 'stdout', /listening\n/);
  const all: Heard[] = [];
  let rest = '';
  child.stdout?.on('data', (piece: Buffer) => {
    const lines = (rest + piece.toString('latin1')).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) {
      const [port, from = '', fromPort, hex = ''] = line.split(' ');
      const packet = decodeDhcp(Buffer.from(hex, 'hex'));
      all.push({ port: Number(port), from, fromPort: Number(fromPort), packet });
    }
  });
  return {
    all,
    send(bytes: Buffer, port = 68, to = EVERYBODY, toPort = 67) {
      child.stdin?.write(`${port} ${to} ${toPort} ${bytes.toString('hex')}\n`);
    },
    async heard(fits: (heard: Heard) => boolean): Promise<Heard> {
      await until(child, () => all.some(fits));
      return all.find(fits) as Heard;
    },
  };
}

/** Looks whenever a child has said something. Rejects where it ends before. */
function until(child: ChildProcess, fits: () => boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (!fits()) return;
      child.stdout?.off('data', look);
      resolve();
    };
    child.stdout?.on('data', look);
    child.once('close', () => reject(new Error('it ended before it was heard')));
    look();
  });
}

function quad(address: string): string {
  return Buffer.from(address.split('.').map(Number)).toString('hex');
}
