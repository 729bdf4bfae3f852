import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dnsmasqArguments } from './dnsmasq.ts';
import type { Lan } from './lan.ts';
import { waitForOutput } from './output.ts';
import { type RunningServer, running } from './servers.ts';

/** Where a DHCP server runs, and by which card it is heard. */
export interface DhcpPlace {
  readonly host: Lan;
  readonly card: string;
  /** Its own, in 10.77.0.0/24. */
  readonly address: string;
}

/** DHCP servers of others that give addresses, and know nothing of network boots. */
export const DHCP_SERVERS: Readonly<Record<string, (place: DhcpPlace) => Promise<RunningServer>>> = {
  async dnsmasq({ host, card, address }) {
    const child = host.spawn(
      'dnsmasq',
      dnsmasqArguments(
        { proxyDhcp: true },
        {
          ...{ bridge: card, address, prefix6: 'fd77::' },
          leaseFile: join(host.workFolder, 'dnsmasq.leases'),
          pidFile: join(host.workFolder, 'dnsmasq.pid'),
        },
      ),
    );
    await waitForOutput(child, 'stderr', /DHCP, sockets bound exclusively/);
    return running(child, 'SIGKILL');
  },

  async kea({ host, card }) {
    const configuration = join(host.workFolder, 'kea.json');
    await writeFile(
      configuration,
      JSON.stringify({
        Dhcp4: {
          'interfaces-config': { interfaces: [card] },
          'lease-database': { type: 'memfile', persist: false },
          'valid-lifetime': 3600,
          subnet4: [{ subnet: '10.77.0.0/24', pools: [{ pool: '10.77.0.100 - 10.77.0.200' }] }],
          loggers: [{ name: 'kea-dhcp4', output_options: [{ output: 'stdout' }], severity: 'INFO' }],
        },
      }),
    );
    const env = { ...process.env, KEA_PIDFILE_DIR: host.workFolder, KEA_LOCKFILE_DIR: host.workFolder };
    const child = host.spawn('kea-dhcp4', ['-c', configuration], { env });
    await waitForOutput(child, 'stdout', /DHCP4_STARTED/);
    return running(child, 'SIGKILL');
  },

  async dhcpd({ host, card }) {
    const file = (name: string) => join(host.workFolder, name);
    await writeFile(
      file('dhcpd.conf'),
      'authoritative;\nping-check false;\nsubnet 10.77.0.0 netmask 255.255.255.0 { range 10.77.0.100 10.77.0.200; }\n',
    );
    await writeFile(file('dhcpd.leases'), '');
    const files = ['-cf', file('dhcpd.conf'), '-lf', file('dhcpd.leases'), '-pf', file('dhcpd.pid')];
    const child = host.spawn('dhcpd', ['-4', '-f', '-d', ...files, '-user', 'root', '-group', 'root', card]);
    await waitForOutput(child, 'stderr', /Server starting service/);
    return running(child, 'SIGKILL');
  },
};
