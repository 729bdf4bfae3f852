import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { DHCP_SERVERS } from '../lab/dhcp-servers.ts';
import { VERIFIED_BOOT } from '../lab/grub.ts';
import { CARD, createHost } from '../lab/host.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { bootQemu, type QemuOptions } from '../lab/qemu.ts';
import { type LabRelease, labRelease } from '../lab/release.ts';
import { type RunningServer, saidTo, startProduct } from '../lab/servers.ts';
import { buildGrubLoaders, type ServeOptions } from '../src/index.ts';
import { DEFAULT_CONFIGURATION } from '../src/server/configuration.ts';

/**
 * Whole machines on a LAN whose DHCP server gives addresses and knows nothing of network boots: our server on another
 * machine tells each what to load, and each ends in a root that was verified.
 */

/** GRUB 2.06 reaches HTTP on port 80 only. */
const URL = `http://${LAN_ADDRESS}`;
/** As many machines at once as a busy host has may be slow. */
const PATIENCE = 15 * 60_000;
const WITHOUT_PXE = ['IPv4', 'IPv6'].flatMap((ip) => [
  '-fw_cfg',
  `name=opt/org.tianocore/${ip}PXESupport,string=no`,
]);

/** A product that answers over DHCP, and what it said. */
interface Answering extends RunningServer {
  /** `offer ipxe-bios bootseal-grub.0`: in order. */
  offered(): readonly string[];
}

interface Offered {
  readonly message: string;
  readonly client: string;
  readonly file: string;
}

async function answering(
  lan: Lan,
  release: LabRelease,
  options: Pick<ServeOptions, 'httpPort' | 'loaders' | 'configuration'>,
): Promise<Answering> {
  const server = await startProduct(lan, release, {
    ...{ tftpPort: 69, proxyDhcp: { interfaces: ['br0'] } },
    ...options,
  });
  let said = '';
  server.child.stdout?.on('data', (piece: Buffer) => {
    said += piece.toString('utf8');
  });
  return {
    ...server,
    offered: () =>
      [...said.matchAll(/^info dhcp: offered (\{.*\})$/gm)].map(([, facts = '']) => {
        const { message, client, file } = JSON.parse(facts) as Offered;
        return `${message} ${client} ${file}`;
      }),
  };
}

describe('a LAN whose DHCP server knows nothing of network boots', () => {
  let release: LabRelease;
  let lan: Lan;
  let other: Lan;
  let dhcp: RunningServer | undefined;
  let server: Answering;

  before(async () => {
    release = await labRelease({ url: URL });
    const loaders = join(release.folder, 'loaders');
    await buildGrubLoaders({ anchors: release.keys, out: loaders, url: URL, now: Date.now() });
    lan = await createLan();
    other = await createHost(lan, '10.77.0.2/24');
    dhcp = await DHCP_SERVERS.dnsmasq?.({ host: other, card: CARD, address: '10.77.0.2' });
    server = await answering(lan, release, { httpPort: 80, loaders });
  });
  after(async () => {
    await server?.stop();
    await dhcp?.stop();
    await other?.close();
    await lan?.close();
    await release?.remove();
  });

  const boot = async (options: Omit<QemuOptions, 'lan'>): Promise<string> => {
    const machine = await bootQemu({ lan, hungAfter: PATIENCE, ...options });
    return (await machine.ended).log;
  };

  it('BIOS: a ROM that is iPXE, told a GRUB of ours by TFTP', async () => {
    const before = server.offered().length;
    expectMilestones(await boot({ firmware: 'bios' }), VERIFIED_BOOT);
    assert.deepEqual(server.offered().slice(before), ['offer ipxe-bios bootseal-grub.0']);
  });

  it('UEFI by PXE: told again at port 4011', async () => {
    const before = server.offered().length;
    const log = await boot({ firmware: 'efi', ownDriver: true });
    expectMilestones(log, VERIFIED_BOOT);
    assert.deepEqual(server.offered().slice(before), [
      'offer x64 bootseal-grub.efi',
      'ack x64 bootseal-grub.efi',
    ]);
  });

  it('UEFI by HTTP Boot: told a URL', async () => {
    const before = server.offered().length;
    const log = await boot({ firmware: 'efi', ownDriver: true, extra: WITHOUT_PXE });
    expectMilestones(log, VERIFIED_BOOT);
    assert.deepEqual(server.offered().slice(before), [`offer http-x64 ${URL}/bootseal-grub.efi`]);
  });
});

/** As `verifying-ipxe.test.ts` has it. */
const folder = process.env.BOOTSEAL_IPXE;
const LOADERS = ['undionly.kpxe', 'ipxe.efi'];
const verifying = LOADERS.some((name) => folder !== undefined && existsSync(join(folder, name)));
const unset =
  'BOOTSEAL_IPXE names no folder with a loader that can verify: docs/testing.md says how to make one';

describe('the same LAN, with an iPXE that verifies', { skip: verifying ? false : unset }, () => {
  for (const loader of LOADERS.filter((name) => existsSync(join(folder ?? '', name)))) {
    const efi = loader === 'ipxe.efi';

    it(`${loader} takes where to fetch, and whom to tell, from our offer, though the DHCP server names itself`, async () => {
      const release = await labRelease({ keys: join(folder ?? '', 'keys') });
      const loaders = join(release.folder, 'loaders');
      await mkdir(loaders);
      await cp(join(folder ?? '', loader), join(loaders, loader));
      const lan = await createLan();
      const other = await createHost(lan, '10.77.0.2/24');
      const dhcp = await DHCP_SERVERS.dnsmasq?.({ host: other, card: CARD, address: '10.77.0.2' });
      const configuration = { ...DEFAULT_CONFIGURATION, syslog: { port: 514 } };
      const server = await answering(lan, release, { httpPort: 8080, loaders, configuration });
      const console = saidTo(server, 'console');
      try {
        const firmware = efi
          ? ({ firmware: 'efi', ownDriver: true } as const)
          : ({ firmware: 'bios' } as const);
        const machine = await bootQemu({ lan, ...firmware, hungAfter: PATIENCE });
        const { log } = await machine.ended;
        expectMilestones(log, ['Verified: arch/2026.11.01', ...VERIFIED_BOOT.slice(1)]);
        expectAbsent(log, ['UNVERIFIED', 'REFUSED']);
        const offered = server.offered();
        assert.deepEqual(
          offered.slice(0, -1),
          efi ? ['offer x64 ipxe.efi', 'ack x64 ipxe.efi'] : ['offer ipxe-bios undionly.kpxe'],
        );
        // Its script says who it is before it asks; one that was built before that is an iPXE like any other.
        const told = [
          `offer bootseal http://${LAN_ADDRESS}:8080/boot.ipxe`,
          `offer ipxe http://${LAN_ADDRESS}:8080/autoexec.ipxe`,
          `offer ipxe-x64 http://${LAN_ADDRESS}:8080/autoexec.ipxe`,
        ];
        assert.ok(told.includes(offered.at(-1) ?? ''), offered.at(-1));
        // A build for UEFI sends the lines of its console to whom DHCP names; one for a BIOS cannot.
        const said = console.map(({ text }) => text);
        if (efi) assert.ok(said.includes('Verified: arch/2026.11.01'), said.join('\n'));
        else assert.deepEqual(said, []);
      } finally {
        await server.stop();
        await dhcp?.stop();
        await other.close();
        await lan.close();
        await release.remove();
      }
    });
  }
});
