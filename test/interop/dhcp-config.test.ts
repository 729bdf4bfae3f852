import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { run } from '../../lab/command.ts';
import { askDhcp, type DhcpQuestion } from '../../lab/dhcp-asker.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../../lab/lan.ts';
import { waitForOutput } from '../../lab/output.ts';
import { type DhcpDialect, dhcpConfig } from '../../src/operations/dhcp-config.ts';

/** The servers themselves are asked, as each kind of machine asks them. */
const SERVER = '10.77.0.7';
const GRUB = { bios: 'bootseal-grub.0', efi: 'bootseal-grub.efi', arm64: 'bootseal-grub-arm64.efi' };
const URL = `http://${SERVER}:8080`;

const pxe = (architecture: number): Omit<DhcpQuestion, 'mac'> => ({
  architecture,
  vendorClass: `PXEClient:Arch:${String(architecture).padStart(5, '0')}:UNDI:003001`,
});
const http = (architecture: number): Omit<DhcpQuestion, 'mac'> => ({
  architecture,
  vendorClass: `HTTPClient:Arch:${String(architecture).padStart(5, '0')}:UNDI:003001`,
});

/** Who asks, and what it is told where an iPXE that is not the site's gets a script. */
const CLIENTS: readonly {
  what: string;
  question: Omit<DhcpQuestion, 'mac'>;
  file: string;
  sixty?: string;
}[] = [
  { what: 'BIOS', question: pxe(0), file: GRUB.bios },
  { what: 'UEFI x64 (7)', question: pxe(7), file: GRUB.efi },
  { what: 'UEFI x64 (9)', question: pxe(9), file: GRUB.efi },
  { what: 'UEFI arm64', question: pxe(11), file: GRUB.arm64 },
  { what: 'UEFI x64, HTTP Boot', question: http(16), file: `${URL}/${GRUB.efi}`, sixty: 'HTTPClient' },
  { what: 'UEFI arm64, HTTP Boot', question: http(19), file: `${URL}/${GRUB.arm64}`, sixty: 'HTTPClient' },
  { what: 'iPXE of a ROM', question: { ...pxe(0), userClass: 'iPXE' }, file: GRUB.bios },
  {
    what: 'iPXE that was loaded from here, BIOS',
    question: { architecture: 0, vendorClass: 'PXEClient', userClass: 'iPXE' },
    file: `${URL}/autoexec.ipxe`,
  },
  { what: 'iPXE of UEFI', question: { ...pxe(7), userClass: 'iPXE' }, file: `${URL}/autoexec.ipxe` },
  { what: 'the site’s iPXE', question: { ...pxe(0), userClass: 'bootseal' }, file: `${URL}/boot.ipxe` },
  {
    what: 'the same as RFC 3004 has it',
    question: { ...pxe(7), userClass: '\x08bootseal' },
    file: `${URL}/boot.ipxe`,
  },
  { what: 'no network boot', question: {}, file: '' },
];

describe('dhcp-config, judged by the servers it is for', () => {
  let lan: Lan;
  let client: string;
  before(async () => {
    lan = await createLan();
    // The servers listen on raw sockets, which do not hear their own host.
    client = `${lan.name}-c`;
    await run('ip', ['netns', 'add', client]);
    await run('ip', [
      '-n',
      lan.name,
      'link',
      'add',
      'veth0',
      'type',
      'veth',
      'peer',
      'name',
      'eth0',
      'netns',
      client,
    ]);
    await run('ip', ['-n', lan.name, 'link', 'set', 'veth0', 'master', 'br0', 'up']);
    await run('ip', ['-n', client, 'link', 'set', 'eth0', 'up']);
    await run('ip', ['-n', client, 'addr', 'add', '10.77.0.50/24', 'dev', 'eth0']);
  });
  after(async () => {
    await run('ip', ['netns', 'delete', client]).catch(() => {});
    await lan?.close();
  });

  it('dnsmasq', async (t) => {
    const file = await written('dnsmasq');
    assert.match((await run('dnsmasq', ['--test', `--conf-file=${file}`])).stderr, /syntax check OK/);
    await dnsmasq(t, file);
    await assertAnswers();
  });

  it('dnsmasq, the sections of OpenWrt as its init script writes them', async (t) => {
    const { lines } = await dhcpConfig({ dialect: 'openwrt', server: SERVER, otherIpxe: 'script' });
    const file = join(lan.workFolder, 'openwrt.conf');
    await writeFile(
      file,
      openwrtLines(lines)
        .map((line) => `${line}\n`)
        .join(''),
    );
    await dnsmasq(t, file);
    // It cannot tell that one from the rest.
    await assertAnswers({ 'iPXE of a ROM': `${URL}/autoexec.ipxe` });
  });

  it('dnsmasq beside another server: it names files and gives no address', async (t) => {
    const config = await dhcpConfig({
      dialect: 'dnsmasq',
      server: LAN_ADDRESS,
      otherIpxe: 'script',
      proxy: true,
    });
    const file = join(lan.workFolder, 'proxy.conf');
    await writeFile(file, config.lines.map((line) => `${line}\n`).join(''));
    const args = [`--conf-file=${file}`, '--keep-in-foreground', '--log-facility=-', '--user=root'];
    const pid = `--pid-file=${join(lan.workFolder, 'proxy.pid')}`;
    await started(t, 'dnsmasq', [...args, '--interface=br0', '--bind-interfaces', pid], /proxy on subnet/);
    const told = async (question: Omit<DhcpQuestion, 'mac'>) => {
      const [offer] = await askDhcp(client, { mac: '52:54:00:00:00:99', ...question });
      assert.deepEqual([offer?.nextServer, offer?.vendorClass], [LAN_ADDRESS, 'PXEClient']);
      return offer?.file;
    };
    assert.equal(await told(pxe(0)), GRUB.bios);
    // UEFI asks again at port 4011.
    assert.equal(await told(pxe(7)), '');
    assert.equal(await told({ ...pxe(0), userClass: 'iPXE' }), GRUB.bios);
    assert.equal(await told({ ...pxe(7), userClass: 'iPXE' }), `http://${LAN_ADDRESS}:8080/autoexec.ipxe`);
    assert.equal(await told({ ...pxe(7), userClass: 'bootseal' }), `http://${LAN_ADDRESS}:8080/boot.ipxe`);
  });

  it('ISC dhcpd', async (t) => {
    const file = await written('isc-dhcp', [
      'subnet 10.77.0.0 netmask 255.255.255.0 { range 10.77.0.100 10.77.0.200; }',
      'authoritative;',
      // Else each offer waits a second for a ping.
      'ping-check false;',
      // What a site's own file may say already.
      'option arch code 93 = unsigned integer 16;',
    ]);
    await run('dhcpd', ['-t', '-cf', file]);
    const leases = join(lan.workFolder, 'dhcpd.leases');
    await writeFile(leases, '');
    const args = [
      '-4',
      '-f',
      '-d',
      '-cf',
      file,
      '-lf',
      leases,
      '-pf',
      join(lan.workFolder, 'dhcpd.pid'),
      'br0',
    ];
    await started(t, 'dhcpd', args, /Server starting service/);
    await assertAnswers();
  });

  it('Kea', async (t) => {
    const config = await dhcpConfig({ dialect: 'kea', server: SERVER, otherIpxe: 'script' });
    const file = join(lan.workFolder, 'kea.conf');
    const rest = {
      'interfaces-config': { interfaces: ['br0'] },
      'lease-database': { type: 'memfile', persist: false },
      subnet4: [{ id: 1, subnet: '10.77.0.0/24', pools: [{ pool: '10.77.0.100-10.77.0.200' }] }],
      loggers: [{ name: 'kea-dhcp4', severity: 'INFO', output_options: [{ output: 'stdout' }] }],
    };
    const members = JSON.stringify(rest).slice(1, -1);
    await writeFile(file, `{"Dhcp4": {\n${config.lines.join('\n')},\n${members}\n}}\n`);
    const checked = await lan.execute('kea-dhcp4', ['-t', file]);
    assert.equal(checked.status, 0, checked.stdout + checked.stderr);
    await started(t, 'kea-dhcp4', ['-c', file], /DHCP4_STARTED/, {
      KEA_PIDFILE_DIR: lan.workFolder,
      KEA_LOCKFILE_DIR: 'none',
    });
    await assertAnswers();
  });

  async function written(dialect: DhcpDialect, before: readonly string[] = []): Promise<string> {
    const { lines } = await dhcpConfig({ dialect, server: SERVER, otherIpxe: 'script' });
    const file = join(lan.workFolder, `${dialect}.conf`);
    await writeFile(file, [...before, ...lines].map((line) => `${line}\n`).join(''));
    return file;
  }

  async function dnsmasq(t: TestContext, file: string): Promise<void> {
    const args = [
      `--conf-file=${file}`,
      ...['--keep-in-foreground', '--log-facility=-', '--user=root', '--port=0', '--interface=br0'],
      ...[
        '--bind-interfaces',
        '--no-ping',
        '--dhcp-authoritative',
        '--dhcp-range=10.77.0.100,10.77.0.200,1h',
      ],
      `--dhcp-leasefile=${join(lan.workFolder, 'dnsmasq.leases')}`,
      `--pid-file=${join(lan.workFolder, 'dnsmasq.pid')}`,
    ];
    await started(t, 'dnsmasq', args, /DHCP, IP range/);
  }

  async function started(
    t: TestContext,
    command: string,
    args: readonly string[],
    ready: RegExp,
    env: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const child = lan.spawn(command, args, { env: { ...process.env, ...env } });
    const ended = new Promise((resolve) => child.once('close', resolve));
    t.after(async () => {
      child.kill('SIGKILL');
      await ended;
    });
    await Promise.any([waitForOutput(child, 'stdout', ready), waitForOutput(child, 'stderr', ready)]);
  }

  async function assertAnswers(but: Readonly<Record<string, string>> = {}): Promise<void> {
    for (const [index, { what, question, sixty, file: usual }] of CLIENTS.entries()) {
      const file = but[what] ?? usual;
      const mac = `52:54:00:00:00:${String(index + 10)}`;
      const [offer] = await askDhcp(client, { mac, ...question });
      assert.equal(offer?.file, file, what);
      if (file !== '') assert.equal(offer?.nextServer, SERVER, what);
      if (sixty !== undefined) assert.equal(offer?.vendorClass, sixty, what);
      assert.equal(offer?.server, LAN_ADDRESS, what);
    }
  }
});

/** What OpenWrt's /etc/init.d/dnsmasq makes of the sections `userclass`, `match` and `boot`, in the order of that script. */
function openwrtLines(commands: readonly string[]): readonly string[] {
  const sections = new Map<string, Map<string, string>>();
  for (const command of commands) {
    const [, name = '', key = 'type', value = ''] =
      /^uci (?:set|add_list) dhcp\.(\w+)(?:\.(\w+))?='(.*)'$/.exec(command) ?? [];
    if (name === '') continue;
    sections.set(name, (sections.get(name) ?? new Map()).set(key, value));
  }
  const of = (type: string) => [...sections.values()].filter((section) => section.get('type') === type);
  return [
    ...of('boot').flatMap((section) => {
      const id = section.get('networkid');
      const option = section.get('dhcp_option');
      return [
        `dhcp-boot=net:${id},${section.get('filename')},${section.get('servername')},${section.get('serveraddress')}`,
        ...(option === undefined
          ? []
          : [`dhcp-option${section.get('force') === '1' ? '-force' : ''}=${id},${option}`]),
      ];
    }),
    ...of('match').map((section) => `dhcp-match=${section.get('networkid')},${section.get('match')}`),
    ...of('userclass').map(
      (section) => `dhcp-userclass=${section.get('networkid')},${section.get('userclass')}`,
    ),
  ];
}
