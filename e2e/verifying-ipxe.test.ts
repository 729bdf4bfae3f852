import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { cp, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { bootQemu, refusedLog } from '../lab/qemu.ts';
import { flip, INITRD, KERNEL, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { copySite, startProduct, startStatic } from '../lab/servers.ts';

/**
 * (c) A site's own iPXE with `imgverify`, its CA and embedded.ipxe inside: the whole chain, each link verified
 * by the one before. No package brings such a loader, so `BOOTSEAL_IPXE` names a folder that holds one:
 * `undionly.kpxe`, perhaps `ipxe.efi`, and `keys/`, the `init` folder whose CA it trusts.
 */
const folder = process.env.BOOTSEAL_IPXE;
const LOADERS = { bios: 'undionly.kpxe', efi: 'ipxe.efi' } as const;
const firmwares = (['bios', 'efi'] as const).filter(
  (firmware) => folder !== undefined && existsSync(join(folder, LOADERS[firmware])),
);

const INSIDE = 'releases/arch/2026.11.01';
const VERIFIED_BOOT = [
  'Verified: arch/2026.11.01',
  'Linux version',
  'bootseal-early: started',
  'bootseal-early: manifest verified, arch/2026.11.01',
  'bootseal-early: checksum verified',
  'bootseal-early: OpenPGP verified',
  'bootseal-early: CMS verified',
  'bootseal-early: root mounted',
  REAL_ROOT_LINE,
];
const NEXT_STAGE = ['Linux version', 'bootseal-early:'];
const CHANGED = 'these are not the bytes that were signed';

/** What is flipped, and what the screen says could not be done. */
const FLIPS = [
  { path: 'boot.ipxe', step: 'verify boot.ipxe', next: ['Verified:', ...NEXT_STAGE] },
  { path: 'boot.ipxe.sig', step: 'verify boot.ipxe', next: ['Verified:', ...NEXT_STAGE] },
  { path: `${INSIDE}/${KERNEL}`, step: 'verify the kernel vmlinuz-linux', next: NEXT_STAGE },
  { path: `${INSIDE}/${KERNEL}.ipxe.sig`, step: 'verify the kernel vmlinuz-linux', next: NEXT_STAGE },
  { path: `${INSIDE}/${INITRD}`, step: 'verify the initrd initramfs-linux.img', next: NEXT_STAGE },
  { path: `${INSIDE}/${INITRD}.ipxe.sig`, step: 'verify the initrd initramfs-linux.img', next: NEXT_STAGE },
];

const unset =
  'BOOTSEAL_IPXE names no folder with a loader that can verify: docs/testing.md says how to make one';

describe('an iPXE that verifies', { skip: firmwares.length === 0 ? unset : false }, () => {
  let release: LabRelease;
  let loaders: string;
  let lan: Lan;

  before(async () => {
    const given = folder ?? '';
    release = await labRelease({ keys: join(given, 'keys') });
    loaders = join(release.folder, 'loaders');
    await mkdir(loaders);
    for (const firmware of firmwares) {
      await cp(join(given, LOADERS[firmware]), join(loaders, LOADERS[firmware]));
    }
    lan = await createLan();
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  for (const firmware of firmwares) {
    it(`${firmware}: boots over our TFTP and HTTP into the real root`, async () => {
      const dhcp = await lan.startDhcp({ [firmware]: LOADERS[firmware], ipxe: LOADERS[firmware] });
      const server = await startProduct(lan, release, { httpPort: 8080, tftpPort: 69, loaders });
      const { log } = await (await bootQemu({ lan, firmware })).ended;
      await server.stop();
      await dhcp.stop();
      expectMilestones(log, VERIFIED_BOOT);
      expectAbsent(log, ['UNVERIFIED', 'REFUSED']);
    });
  }

  for (const { path, step, next } of FLIPS) {
    it(`refuses a flipped byte in ${path}`, async () => {
      // One of them is watched until it restarts.
      const log = await tamperedBoot(path, path === 'boot.ipxe');
      expectMilestones(log, [`could not ${step}`, 'Reason: ', 'Nothing was started']);
      assert.match(log, new RegExp(CHANGED));
      expectAbsent(log, [...next, REAL_ROOT_LINE]);
    });
  }

  it('early userspace refuses a flipped byte in the root image, which no loader sees', async () => {
    const log = await tamperedBoot(`${INSIDE}/${ROOTFS}`, true);
    expectMilestones(log, ['Verified: arch/2026.11.01', 'bootseal-early: REFUSED checksum']);
    expectAbsent(log, ['bootseal-early: root mounted', REAL_ROOT_LINE]);
  });

  it('tells a clock that is wrong from bytes that are', async () => {
    const log = await tamperedBoot(undefined, false, new Date(Date.UTC(1996, 0, 1)));
    expectMilestones(log, ['could not verify boot.ipxe', "check this machine's clock"]);
    expectAbsent(log, NEXT_STAGE);
  });

  /** A boot from a plain web server over a copy of the site in which one byte is flipped. */
  async function tamperedBoot(path: string | undefined, toTheEnd: boolean, clock?: Date): Promise<string> {
    const site = join(release.folder, `site-${(path ?? 'clock').replaceAll('/', '-')}`);
    await mkdir(site, { recursive: true });
    await copySite(release, site);
    // In a CMS seal the signature comes last. iPXE passes over the copy of the CA that stands before it: its
    // own is the one that counts, so a flip there changes nothing that anybody reads.
    if (path !== undefined) await flip(join(site, path), path.endsWith('.sig') ? -16 : undefined);
    const [firmware = 'bios'] = firmwares;
    const loader = LOADERS[firmware];
    const dhcp = await lan.startDhcp({ [firmware]: loader, ipxe: loader, tftpRoot: loaders });
    const server = await startStatic(lan, site, 8080);
    try {
      const machine = await bootQemu({ lan, firmware, ...(clock === undefined ? {} : { clock }) });
      return toTheEnd ? (await machine.ended).log : await refusedLog(machine);
    } finally {
      await server.stop();
      await dhcp.stop();
    }
  }
});
