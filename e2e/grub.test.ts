import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildGrubLoaders } from '../src/index.ts';
import { expectAbsent, expectMilestones } from './lab/console.ts';
import { createLan, type Lan } from './lab/lan.ts';
import { bootQemu } from './lab/qemu.ts';
import { flip, INITRD, KERNEL, type LabRelease, labRelease, ROOTFS } from './lab/release.ts';
import { REAL_ROOT_LINE } from './lab/rootfs.ts';
import { copySite, startProduct, startStatic } from './lab/servers.ts';

/**
 * (b) GRUB with the site's OpenPGP key inside: every file it opens is verified by GRUB itself. The good boots
 * come from our TFTP and HTTP servers, the tampered ones from a plain web server.
 */
const VERIFIED_BOOT = [
  'Verified: arch/2026.11.01',
  'bootseal-early: started',
  'bootseal-early: checksum verified',
  'bootseal-early: OpenPGP verified',
  'bootseal-early: CMS verified',
  'bootseal-early: root mounted',
  REAL_ROOT_LINE,
];
const KERNEL_BANNER = ['Linux version', 'bootseal-early:'];

const LOADERS = { bios: 'bootseal-grub.0', efi: 'bootseal-grub.efi' } as const;

/** What is flipped, and which files stand for it on the server. */
const BIOS_FLIPS = [
  'grub.cfg',
  'grub.cfg.sig',
  `releases/arch/2026.11.01/${KERNEL}`,
  `releases/arch/2026.11.01/${KERNEL}.sig`,
  `releases/arch/2026.11.01/${INITRD}`,
  `releases/arch/2026.11.01/${INITRD}.sig`,
];
const EFI_FLIPS = ['grub.cfg', `releases/arch/2026.11.01/${KERNEL}`, `releases/arch/2026.11.01/${INITRD}`];

describe('GRUB enforcing OpenPGP signatures', () => {
  let release: LabRelease;
  let loaders: string;
  let lan: Lan;

  before(async () => {
    release = await labRelease({ url: 'http://10.77.0.1' });
    loaders = join(release.folder, 'loaders');
    await buildGrubLoaders({ anchors: release.keys, out: loaders, url: 'http://10.77.0.1' });
    lan = await createLan();
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  for (const firmware of ['bios', 'efi'] as const) {
    it(`${firmware}: boots over our TFTP and HTTP into the real root`, async () => {
      const dhcp = await lan.startDhcp({ [firmware]: LOADERS[firmware], ipxe: LOADERS[firmware] });
      const server = await startProduct(lan, release, { httpPort: 80, tftpPort: 69, loaders });
      const machine = await bootQemu({ lan, firmware });
      const { log } = await machine.ended;
      await server.stop();
      await dhcp.stop();
      expectMilestones(log, VERIFIED_BOOT);
    });

    for (const path of firmware === 'bios' ? BIOS_FLIPS : EFI_FLIPS) {
      it(`${firmware}: refuses a flipped byte in ${path}`, async () => {
        const site = await tampered(path);
        const { log } = await bootFrom(site, firmware);
        expectMilestones(log, ['REFUSED: ']);
        expectAbsent(log, [...KERNEL_BANNER, ...(path.startsWith('grub.cfg') ? ['Release arch'] : [])]);
      });
    }
  }

  it('bios: boots over TFTP where nothing but DHCP names the server', async () => {
    const plain = await labRelease();
    const images = join(plain.folder, 'loaders');
    await buildGrubLoaders({ anchors: plain.keys, out: images });
    const dhcp = await lan.startDhcp({ bios: LOADERS.bios, ipxe: LOADERS.bios });
    const server = await startProduct(lan, plain, { httpPort: 8080, tftpPort: 69, loaders: images });
    const { log } = await (await bootQemu({ lan, firmware: 'bios' })).ended;
    await server.stop();
    await dhcp.stop();
    await plain.remove();
    expectMilestones(log, VERIFIED_BOOT);
  });

  it('bios: early userspace refuses a flipped byte in the root image', async () => {
    const site = await tampered(`releases/arch/2026.11.01/${ROOTFS}`);
    const { log } = await bootFrom(site, 'bios');
    expectMilestones(log, [
      'Verified: arch/2026.11.01',
      'bootseal-early: started',
      'bootseal-early: REFUSED checksum',
    ]);
    expectAbsent(log, ['bootseal-early: root mounted', REAL_ROOT_LINE]);
  });

  async function tampered(path: string): Promise<string> {
    const site = join(release.folder, `site-${path.replaceAll('/', '-')}`);
    await mkdir(site, { recursive: true });
    await copySite(release, site);
    await flip(join(site, path));
    await cp(loaders, join(site, 'tftp'), { recursive: true });
    return site;
  }

  async function bootFrom(site: string, firmware: 'bios' | 'efi') {
    const dhcp = await lan.startDhcp({
      [firmware]: LOADERS[firmware],
      ipxe: LOADERS[firmware],
      tftpRoot: join(site, 'tftp'),
    });
    const server = await startStatic(lan, site, 80);
    try {
      const machine = await bootQemu({ lan, firmware });
      return await machine.ended;
    } finally {
      await server.stop();
      await dhcp.stop();
    }
  }
});
