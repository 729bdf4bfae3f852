import { appendFile, cp } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { buildGrubLoaders } from '../src/index.ts';
import { newKeyPair } from '../src/signing/keys/key-pair.ts';
import { newOpenpgpKey } from '../src/signing/keys/openpgp-keys.ts';
import { expectAbsent, expectMilestones, type Milestone } from './console.ts';
import { GrubSite } from './grub-site.ts';
import { createLan, type Lan } from './lan.ts';
import { bootQemu, type QemuMachine, refusedLog } from './qemu.ts';
import { pressKeys, qmpArguments } from './qmp.ts';
import { flip, type LabRelease, type LabReleaseOptions, labRelease } from './release.ts';
import { REAL_ROOT_LINE } from './rootfs.ts';
import { startProduct, startStatic } from './servers.ts';

export const INSIDE = 'releases/arch/2026.11.01';
export const VERIFIED_BOOT = [
  'Verified: arch/2026.11.01',
  'bootseal-early: started',
  'bootseal-early: manifest verified, arch/2026.11.01',
  'bootseal-early: checksum verified',
  'bootseal-early: OpenPGP verified',
  'bootseal-early: CMS verified',
  'bootseal-early: root mounted',
  REAL_ROOT_LINE,
];
export const KERNEL_BANNER = ['Linux version', 'bootseal-early:', '(XEN)'];
const LOADERS = { bios: 'bootseal-grub.0', efi: 'bootseal-grub.efi' } as const;

export type Firmware = keyof typeof LOADERS;

/** A LAN, a release sealed for it, and what tests of one kind of firmware do there. */
export interface GrubLab {
  readonly lan: Lan;
  /** Serves a release and boots it; without `url` nothing but DHCP names the server, and the loader fetches by TFTP. */
  goodBoot(url?: string): Promise<string>;
  /** The site with one file flipped, on a plain web server that would serve anything. */
  tamperedBoot(path: string, toTheEnd?: boolean): Promise<string>;
  /** The site as `change` leaves it, on a plain web server and a plain TFTP server, up to a loader's refusal. */
  attack(change: (site: GrubSite) => Promise<void>, at?: GrubOperator): Promise<GrubAttackEnd>;
}

/** Somebody at the keyboard; the machine is switched off when he is done. */
export type GrubOperator = (
  machine: QemuMachine,
  press: (...keys: readonly string[]) => Promise<void>,
) => Promise<void>;

export interface GrubAttackEnd {
  readonly log: string;
  /** `200 GET /grub.cfg`: what the web server answered. */
  readonly requests: readonly string[];
}

/** What is started, where that is more than a kernel. */
export interface GrubKind extends Pick<LabReleaseOptions, 'hypervisor' | 'prepare'> {
  /** In the name of the tests. */
  readonly what?: string;
  /** What a good boot shows; `VERIFIED_BOOT` by default. */
  readonly boot?: readonly Milestone[];
}

const URL = 'http://10.77.0.1:8080';

/** (b) GRUB with the site's OpenPGP key inside: every file it opens is verified by GRUB itself. */
export function describeGrub(
  firmware: Firmware,
  flips: readonly string[],
  more: (lab: GrubLab) => void,
  kind: GrubKind = {},
): void {
  const { what = 'GRUB', boot: goodBoot = VERIFIED_BOOT, ...made } = kind;
  describe(`${what} enforcing OpenPGP signatures, ${firmware}`, () => {
    let release: LabRelease;
    let loaders: string;
    let network: Lan | undefined;
    const loader = LOADERS[firmware];
    const lan = (): Lan => {
      if (!network) throw new Error('the LAN is not up');
      return network;
    };

    const lab: GrubLab = {
      get lan() {
        return lan();
      },
      async goodBoot(url) {
        const options = url === undefined ? {} : { url };
        const sealed = url === URL ? release : await labRelease({ ...made, ...options });
        const images = join(sealed.folder, 'loaders');
        await buildGrubLoaders({
          anchors: sealed.keys,
          out: images,
          now: Date.now(),
          ...options,
          ...(url === undefined ? { protocols: ['tftp'] } : {}),
        });
        const dhcp = await lan().startDhcp({ [firmware]: loader, ipxe: loader });
        const server = await startProduct(lan(), sealed, { httpPort: 8080, tftpPort: 69, loaders: images });
        try {
          return (await (await bootQemu({ lan: lan(), firmware })).ended).log;
        } finally {
          await server.stop();
          await dhcp.stop();
          if (sealed !== release) await sealed.remove();
        }
      },
      async tamperedBoot(path, toTheEnd = false) {
        return (
          await offer(
            (site) => flip(join(site.folder, path)),
            toTheEnd ? async ({ ended }) => void (await ended) : undefined,
          )
        ).log;
      },
      attack: offer,
    };

    async function offer(
      change: (site: GrubSite) => Promise<void>,
      operate?: GrubOperator,
    ): Promise<GrubAttackEnd> {
      const site = await GrubSite.create(release, loaders);
      await change(site);
      const dhcp = await lan().startDhcp({
        [firmware]: loader,
        ipxe: loader,
        tftpRoot: join(site.folder, 'tftp'),
      });
      const server = await startStatic(lan(), site.folder, 8080);
      let requests = '';
      server.child.stdout?.on('data', (piece: Buffer) => {
        requests += piece.toString('latin1');
      });
      try {
        const control = join(site.folder, 'control');
        const machine = await bootQemu({ lan: lan(), firmware, extra: qmpArguments(control) });
        if (!operate) return { log: await refusedLog(machine), requests: requests.split('\n') };
        await operate(machine, (...keys) => pressKeys(control, keys));
        await machine.kill();
        return { log: machine.log(), requests: requests.split('\n') };
      } finally {
        await server.stop();
        await dhcp.stop();
      }
    }

    before(async () => {
      release = await labRelease({ ...made, url: URL });
      loaders = join(release.folder, 'tampered-loaders');
      await buildGrubLoaders({ anchors: await overlap(release), out: loaders, url: URL, now: Date.now() });
      network = await createLan();
    });
    after(async () => {
      await network?.close();
      await release?.remove();
    });

    it('boots over our TFTP and HTTP into the real root', async () => {
      expectMilestones(await lab.goodBoot(URL), goodBoot);
    });

    for (const [index, path] of flips.entries()) {
      it(`refuses a flipped byte in ${path}`, async () => {
        // One of them is watched until it restarts.
        const log = await lab.tamperedBoot(path, firmware === 'bios' && index === 0);
        expectMilestones(log, ['REFUSED: ', 'Nothing was started']);
        expectAbsent(log, [...KERNEL_BANNER, ...(path.startsWith('grub.cfg') ? ['Release arch'] : [])]);
      });
    }

    more(lab);
  });
}

/** Anchors of a day on which one script key takes another's place, so that an image has to strike two off. */
async function overlap({ keys, folder }: LabRelease): Promise<string> {
  const anchors = join(folder, 'overlap');
  await cp(join(keys, 'anchors'), anchors, { recursive: true });
  const created = Math.floor(Date.now() / 1000) * 1000 - 1000;
  const next = await newOpenpgpKey('lab', 'script', await newKeyPair('rsa', 2048), created);
  await appendFile(join(anchors, 'script.gpg'), next.publicKeyring);
  return anchors;
}
