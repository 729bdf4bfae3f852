import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { serveByCli } from '../../lab/cli.ts';
import { run } from '../../lab/command.ts';
import { dnsmasqArguments } from '../../lab/dnsmasq.ts';
import { CARD, createHost } from '../../lab/host.ts';
import { createLan, type Lan } from '../../lab/lan.ts';
import { waitForOutput } from '../../lab/output.ts';
import { buildGrubLoaders } from '../../src/build/loaders.ts';
import { copySite, examine, keys, NOW, only, wrong } from './doctor-site.ts';

/** With a loader that trusts it: UEFI firmware is told something. Nobody changes it. */
const site = await copySite();
await buildGrubLoaders({ anchors: keys, out: join(site.state, 'loaders'), now: NOW });
const PROXY = ['--proxydhcp', 'br0'];

/** A dnsmasq on a machine of its own on that LAN, with arguments that win over the lab's. */
interface Neighbour {
  readonly address?: string;
  readonly extra?: readonly string[];
  /** All of its arguments about DHCP, where it gives no addresses. */
  readonly instead?: readonly string[];
}

/** A LAN of the test's own, with other machines' DHCP servers on it; what each of them logged. */
async function onLan(
  neighbours: readonly Neighbour[],
  work: (lan: Lan, logs: readonly (() => string)[]) => Promise<void>,
): Promise<void> {
  const lan = await createLan();
  const hosts: Lan[] = [];
  try {
    const logs: (() => string)[] = [];
    for (const [index, { address = `10.77.0.${index + 2}`, extra = [], instead }] of neighbours.entries()) {
      const host = await createHost(lan, `${address}/24`);
      hosts.push(host);
      const files = { leaseFile: join(host.workFolder, 'leases'), pidFile: join(host.workFolder, 'pid') };
      const all = dnsmasqArguments(
        { proxyDhcp: true, extra },
        { bridge: CARD, address, prefix6: 'fd77::', ...files },
      );
      const range = `--dhcp-range=${address.replace(/\d+$/, '100')},${address.replace(/\d+$/, '200')},1h`;
      const args = all
        .filter(
          (word) => instead === undefined || !/^--(dhcp-(range|option|authoritative)|enable-ra)/.test(word),
        )
        .map((word) => (word.startsWith('--dhcp-range=10.') ? range : word));
      const child = host.spawn('dnsmasq', [...args, ...(instead ?? [])]);
      let log = '';
      child.stderr?.on('data', (piece: Buffer) => {
        log += piece.toString('utf8');
      });
      logs.push(() => log);
      await waitForOutput(child, 'stderr', /DHCP, sockets bound exclusively|DHCP, proxy/);
    }
    await work(lan, logs);
  } finally {
    for (const host of hosts) await host.close();
    await lan.close();
  }
}

/** Offers are waited for, in which time nobody works: many LANs at once. */
describe('doctor on a LAN', { concurrency: 6 }, () => {
  it('finds nothing where one server gives addresses and ours answers, and has asked once', async () => {
    await onLan([{}], async (lan, [log = () => '']) => {
      const served = await copySite();
      await buildGrubLoaders({ anchors: keys, out: join(served.state, 'loaders'), now: NOW });
      const words = ['--state', served.state, '--anchors', served.anchors, ...PROXY];
      const server = await serveByCli(lan, words);
      try {
        const examined = await examine(lan, served, PROXY);
        assert.deepEqual(wrong(examined), []);
        assert.equal(examined.status, 0);
        const found = examined.findings.map((one) => one.found);
        assert.ok(
          found.includes('Bootseal on br0 tells UEFI firmware to load bootseal-grub.efi from 10.77.0.1'),
        );
        assert.ok(found.includes('10.77.0.2 gives addresses of 10.77.0.0/24 on br0'));
        assert.match(found.join('\n'), /Bootseal runs and has .*DHCP 10\.77\.0\.1:4011/);
        assert.equal(log().match(/DHCPDISCOVER\(/g)?.length, 1);
        assert.doesNotMatch(log(), /DHCPREQUEST/);
      } finally {
        await server.stop();
      }
    });
  });

  it('finds nothing where the DHCP server is on the same machine, as it must be beside ours', async () => {
    await onLan([], async (lan) => {
      await lan.startDhcp({ proxyDhcp: true });
      const examined = await examine(lan, site, PROXY);
      assert.deepEqual(wrong(examined), []);
      assert.ok(
        examined.findings.some(({ found }) => found === '10.77.0.1 gives addresses of 10.77.0.0/24 on br0'),
      );
    });
  });

  it('sends nothing with --no-probe', async () => {
    await onLan([{}], async (lan, [log = () => '']) => {
      assert.deepEqual(wrong(await examine(lan, site, [...PROXY, '--no-probe'])), []);
      assert.doesNotMatch(log(), /DHCPDISCOVER/);
    });
  });

  it('finds that nobody gives addresses', async () => {
    await onLan([], async (lan) => {
      only(
        await examine(lan, site, PROXY),
        'dhcp fault no-dhcp',
        /^no DHCP server on br0 offered an address within 5 s/,
      );
    });
  });

  it('finds two DHCP servers that give addresses of different networks, and names both', async () => {
    await onLan([{}, { address: '10.99.0.1' }], async (lan) => {
      const examined = await examine(lan, site, PROXY);
      only(examined, 'dhcp fault two-dhcp', /10\.77\.0\.2 \(10\.77\.0\.0\/24\)/);
      assert.match(
        examined.findings.find(({ code }) => code)?.found ?? '',
        /10\.99\.0\.1 \(10\.99\.0\.0\/24\)/,
      );
    });
  });

  it('finds two DHCP servers of one network, which may be a pair', async () => {
    await onLan([{}, {}], async (lan) => {
      only(
        await examine(lan, site, PROXY),
        'dhcp warning two-dhcp',
        /2 DHCP servers on br0 give addresses of one network/,
      );
    });
  });

  it('finds a DHCP server that gives addresses of another network than this machine has', async () => {
    await onLan([{ address: '10.99.0.1' }], async (lan) => {
      only(
        await examine(lan, site, PROXY),
        'dhcp warning other-network',
        /10\.99\.0\.1 on br0 gives addresses of 10\.99\.0\.0\/24, and this machine has 10\.77\.0\.1/,
      );
    });
  });

  it('finds a DHCP server that itself names a boot file', async () => {
    await onLan([{ extra: ['--dhcp-boot=pxelinux.0,,10.77.0.66'] }], async (lan) => {
      only(
        await examine(lan, site, PROXY),
        'dhcp fault dhcp-boots',
        /the DHCP server 10\.77\.0\.2 on br0 itself tells machines to load pxelinux\.0 from 10\.77\.0\.66$/,
      );
    });
  });

  it('finds another ProxyDHCP server', async () => {
    const instead = ['--dhcp-range=10.77.0.0,proxy', '--pxe-service=X86-64_EFI,theirs,theirs.efi'];
    await onLan([{}, { instead }], async (lan) => {
      only(
        await examine(lan, site, PROXY),
        'dhcp fault other-proxy',
        /another ProxyDHCP server on br0, 10\.77\.0\.3, tells machines to load/,
      );
    });
  });

  it('finds a DHCP server that forbids iPXE to hear ours', async () => {
    await onLan([{ extra: ['--dhcp-option=encap:175,176,1b'] }], async (lan) => {
      only(
        await examine(lan, site, PROXY),
        'dhcp fault no-proxy-allowed',
        /10\.77\.0\.2 on br0 tells iPXE to hear no ProxyDHCP server/,
      );
    });
  });

  it('finds a program that has port 67 for itself, and one that has 4011', async () => {
    await onLan([{}], async (lan) => {
      const own = dnsmasqArguments(
        { proxyDhcp: true },
        {
          ...{ bridge: 'br0', address: '10.77.0.1', prefix6: 'fd77::' },
          ...{ leaseFile: join(lan.workFolder, 'leases'), pidFile: join(lan.workFolder, 'pid') },
        },
      ).filter((word) => word !== '--bind-interfaces');
      const dnsmasq = lan.spawn('dnsmasq', own);
      await waitForOutput(dnsmasq, 'stderr', /DHCP, IP range/);
      const examined = await examine(lan, site, [...PROXY, '--no-probe']);
      only(
        examined,
        'ports fault port-taken',
        new RegExp(`^DHCP port 67 is taken by dnsmasq \\(process ${dnsmasq.pid}\\)$`),
      );
      assert.match(examined.findings.find(({ code }) => code)?.advice ?? '', /bind-interfaces/);
      dnsmasq.kill('SIGKILL');
      await once(dnsmasq, 'exit');
      const other = lan.spawn(process.execPath, [
        '-e',
        `require('dgram').createSocket('udp4').bind(4011, () => console.log('listening'))`,
      ]);
      await waitForOutput(other, 'stdout', /listening/);
      only(
        await examine(lan, site, [...PROXY, '--no-probe']),
        'ports fault port-taken',
        /^DHCP 10\.77\.0\.1:4011 is taken by node /,
      );
    });
  });

  it('finds that nothing is there to load', async () => {
    await onLan([], async (lan) => {
      const bare = await copySite();
      only(
        await examine(lan, bare, [...PROXY, '--no-probe']),
        'loaders fault no-loader',
        /state\/loaders, so --proxydhcp tells machines nothing$/,
      );
    });
  });

  it('says who keeps it from asking, and ends with 3', async () => {
    await onLan([], async (lan) => {
      const client = lan.spawn(process.execPath, [
        '-e',
        `require('dgram').createSocket('udp4').bind(68, () => console.log('listening'))`,
      ]);
      await waitForOutput(client, 'stdout', /listening/);
      const examined = await examine(lan, site, PROXY);
      assert.deepEqual(wrong(examined), []);
      assert.equal(examined.status, 3);
      const [unlooked] = examined.findings.filter(({ couldNotLook }) => couldNotLook);
      assert.match(unlooked?.found ?? '', /^br0 could not be asked: node \(process \d+\) has port 68/);
    });
  });

  it('finds an interface that is not there, one that is down, and one without an address', async () => {
    await onLan([], async (lan) => {
      only(
        await examine(lan, site, ['--proxydhcp', 'eth9']),
        'interfaces fault no-interface',
        /^there is no interface eth9$/,
      );
      await run('ip', ['-n', lan.name, 'link', 'add', 'card0', 'type', 'veth', 'peer', 'name', 'card1']);
      only(
        await examine(lan, site, ['--proxydhcp', 'card0']),
        'interfaces fault interface-down',
        /^the interface card0 is down$/,
      );
      for (const card of ['card0', 'card1']) await run('ip', ['-n', lan.name, 'link', 'set', card, 'up']);
      only(
        await examine(lan, site, ['--proxydhcp', 'card0']),
        'interfaces fault no-ipv4',
        /^the interface card0 has no IPv4 address/,
      );
    });
  });

  it('finds an address that ends unless DHCP renews it', async () => {
    await onLan([], async (lan) => {
      const lasting = ['valid_lft', '600', 'preferred_lft', '600'];
      await run('ip', ['-n', lan.name, 'address', 'add', '10.77.0.8/24', 'dev', 'br0', ...lasting]);
      only(
        await examine(lan, site, ['--bind', '10.77.0.8']),
        'interfaces warning dynamic-address',
        /^10\.77\.0\.8 on br0 came by DHCP/,
      );
    });
  });

  it('finds several addresses behind one wildcard', async () => {
    await onLan([], async (lan) => {
      await run('ip', ['-n', lan.name, 'address', 'add', '10.78.0.1/24', 'dev', 'br0']);
      only(
        await examine(lan, site, ['--bind', '0.0.0.0']),
        'interfaces warning wildcard',
        /br0 10\.77\.0\.1.*br0 10\.78\.0\.1/,
      );
    });
  });
});
