import { existsSync } from 'node:fs';
import { cp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { KERNEL_BANNER } from '../lab/grub.ts';
import { GrubSite } from '../lab/grub-site.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { biosDisk, efiDisk, efiStick, OWN_DISK_LINE } from '../lab/own-disk.ts';
import { bootQemu, type QemuMachine, type QemuOptions } from '../lab/qemu.ts';
import { pressKeys, qmpArguments } from '../lab/qmp.ts';
import { type LabRelease, labRelease } from '../lab/release.ts';
import { startStatic } from '../lab/servers.ts';
import { buildGrubLoaders } from '../src/index.ts';
import { compileGrubHold, compileHold } from '../src/scripts/hold.ts';
import { compileGrubLocalDisk, compileLocalDisk } from '../src/scripts/local-disk.ts';
import { compileGrubMenu, compileMenu, type MenuOptions } from '../src/scripts/menu.ts';
import { readKeyFolder } from '../src/signing/keys/key-folder.ts';
import { sealRecord } from '../src/signing/seal-record.ts';
import { chainOf, signersOf } from '../src/signing/signatories.ts';

/**
 * Signed scripts that are no release's own: a menu that a person walks, a machine's own disk, a machine that is held. By
 * GRUB with the site's keys, and by an iPXE that verifies where `BOOTSEAL_IPXE` names one (docs/testing.md).
 */
const ipxe = process.env.BOOTSEAL_IPXE;
const IPXE = { bios: 'undionly.kpxe', efi: 'ipxe.efi' } as const;
const GRUB = { bios: 'bootseal-grub.0', efi: 'bootseal-grub.efi' } as const;
type Firmware = keyof typeof GRUB;

const URL = `http://${LAN_ADDRESS}`;
const INSIDE = 'releases/arch/2026.11.01';
const SERVER = { kind: 'literal', host: LAN_ADDRESS, port: 80 } as const;
const PLANTED = 'PLANTED RAN';
const LAST = 'Start from the disk of this machine';
const TO_DISK = 'Verified: this machine starts from its own disk.';
const MENU: MenuOptions = {
  title: 'Bootseal',
  entries: [
    { label: 'Arch, stable', kind: 'channel', name: 'stable' },
    { label: 'Arch, forged', kind: 'channel', name: 'forged' },
    { label: 'Arch 2026.11.01', kind: 'release', name: 'arch/2026.11.01' },
  ],
  default: 'stable',
  timeoutSeconds: 600,
};
const SMBIOS = [
  ...[
    '-smbios',
    'type=1,manufacturer=Maker,product=Box 7,serial=S-1,uuid=11223344-5566-7788-99aa-bbccddeeff00',
  ],
  ...['-smbios', 'type=3,asset=A-1'],
];
/** What both loaders say of that machine, in this order or another. */
const NAMED = [
  /uuid +11223344-5566-7788-99aa-bbccddeeff00/,
  /serial +S-1/,
  /asset +A-1/,
  /manufacturer +Maker/,
  /product +Box 7/,
];

describe('signed scripts that are no release’s own', () => {
  let release: LabRelease;
  let site: GrubSite;
  let lan: Lan;

  before(async () => {
    release = await labRelease({ url: URL, ...(ipxe === undefined ? {} : { keys: join(ipxe, 'keys') }) });
    const loaders = join(release.folder, 'loaders');
    await buildGrubLoaders({ anchors: release.keys, out: loaders, url: URL, now: Date.now() });
    for (const name of Object.values(IPXE)) {
      if (ipxe !== undefined && existsSync(join(ipxe, name))) await cp(join(ipxe, name), join(loaders, name));
    }
    site = await GrubSite.create(release, loaders);
    for (const name of ['boot.ipxe', 'grub.cfg'])
      await site.copy(`${INSIDE}/${name}`, `channels/stable/${name}`);
    // Each is good in another place: a text by the payload key, and a script by the release's own leaf.
    await site.put('channels/forged/grub.cfg', `echo "${PLANTED}"\n`, 'payload');
    await writeFile(join(site.folder, 'channels/forged/boot.ipxe'), `#!ipxe\necho ${PLANTED}\n`);
    await cp(join(release.tree, 'boot.ipxe.sig'), join(site.folder, 'channels/forged/boot.ipxe.sig'));
    lan = await createLan();
    for (const port of [80, 8080]) await startStatic(lan, site.folder, port);
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  /** Somebody at the keyboard of a machine, which is switched off when he is done. */
  type Operator = (
    machine: QemuMachine,
    press: (...keys: readonly string[]) => Promise<void>,
  ) => Promise<void>;

  async function boot(
    firmware: Firmware,
    loader: string,
    operate: Operator,
    more: Pick<QemuOptions, 'disks' | 'extra' | 'netboot' | 'ownDriver'> = {},
  ): Promise<string> {
    const tftpRoot = join(site.folder, 'tftp');
    const dhcp = await lan.startDhcp({ [firmware]: loader, ipxe: loader, tftpRoot });
    const control = join(site.folder, 'control');
    const extra = [...qmpArguments(control), ...(more.extra ?? [])];
    try {
      const machine = await bootQemu({ lan, firmware, ...more, extra });
      await operate(machine, (...keys) => pressKeys(control, keys));
      await machine.kill();
      return machine.log();
    } finally {
      await dhcp.stop();
    }
  }

  /** Keys of an emulated keyboard, which holds no more than 16 bytes of them. */
  const SECOND = ['down', 'ret'];
  const LAST_KEYS = ['end', 'ret'];

  describe('GRUB', () => {
    const menu = (timeoutSeconds: number) =>
      site.put('grub.cfg', compileGrubMenu({ ...MENU, timeoutSeconds, server: SERVER }), 'script');

    it('a menu: no key leads to a prompt, and its last entry to the disk of the machine', async () => {
      await menu(600);
      const log = await boot(
        'bios',
        GRUB.bios,
        async (machine, press) => {
          await machine.waitFor([LAST]);
          for (const key of ['esc', 'c', 'e']) {
            await press(key);
            await machine.waitFor(['Enter username']);
            await press('n', 'o', 'b', 'o', 'd', 'y', 'ret');
            await machine.waitFor(['Enter password']);
            await press('ret');
            await machine.waitFor([LAST]);
          }
          await press(...LAST_KEYS);
          await machine.waitFor([TO_DISK, OWN_DISK_LINE]);
        },
        { disks: [await biosDisk(release.folder)] },
      );
      expectAbsent(log, ['grub>', 'REFUSED', PLANTED, ...KERNEL_BANNER]);
    });

    it('a menu: an entry whose configuration the script key did not sign runs nothing, and comes back to nothing', async () => {
      await menu(600);
      const log = await boot('bios', GRUB.bios, async (machine, press) => {
        await machine.waitFor([LAST]);
        await press(...SECOND);
        await machine.waitFor(['Fetching and verifying grub.cfg of forged', 'REFUSED: grub.cfg of forged']);
        await machine.waitFor(['This machine restarts in 30 seconds']);
        await machine.ended;
      });
      expectAbsent(log, ['grub>', PLANTED, ...KERNEL_BANNER]);
    });

    it('efi, a menu: where nobody chooses its default starts, a release', async () => {
      await menu(3);
      const log = await boot('efi', GRUB.efi, (machine) =>
        machine.waitFor([
          LAST,
          'Fetching and verifying grub.cfg of stable',
          'Verified: arch/2026.11.01',
          'Linux version',
        ]),
      );
      expectAbsent(log, ['REFUSED']);
    });

    it('efi, the disk of the machine: GRUB ends well, and such firmware opens its setup', async () => {
      await site.put('grub.cfg', compileGrubLocalDisk(), 'script');
      const log = await boot('efi', GRUB.efi, (machine) => machine.waitFor([TO_DISK, 'Boot Manager']), {
        ownDriver: true,
      });
      expectAbsent(log, ['REFUSED', 'grub>', OWN_DISK_LINE, ...KERNEL_BANNER]);
    });

    it('a machine that is held says who it is, and restarts', async () => {
      await site.put('grub.cfg', compileGrubHold({ seconds: 5 }), 'script');
      const log = await boot('bios', GRUB.bios, async (machine) => void (await machine.ended), {
        extra: SMBIOS,
      });
      expectMilestones(log, [
        'HELD: this machine is not known here',
        ...NAMED,
        /mac +52:54:00:77:/,
        /bootseal machines explain 52:54:00:77:/,
        'It asks again in 5 seconds',
      ]);
      expectAbsent(log, ['REFUSED', ...KERNEL_BANNER]);
    });
  });

  const unset =
    'BOOTSEAL_IPXE names no folder with a loader that can verify: docs/testing.md says how to make one';
  describe('an iPXE that verifies', { skip: ipxe === undefined ? unset : false }, () => {
    /** Puts a script in the place of boot.ipxe, with a good seal. */
    async function put(text: string): Promise<void> {
      const { ca, above, boot: leaf } = signersOf(await readKeyFolder(release.keys, Date.now()));
      const bytes = Buffer.from(text);
      const seal = await sealRecord(bytes, leaf, [
        leaf.certificate.raw,
        ...chainOf({ ca: ca.certificate, above }),
      ]);
      const file = join(site.folder, 'boot.ipxe');
      await writeFile(file, bytes);
      await writeFile(`${file}.sig`, seal);
    }

    const server = { kind: 'literal', url: URL } as const;
    /** As the loader has it built in: of the site that its keys were made for. */
    let signer: string;
    before(async () => {
      signer = signersOf(await readKeyFolder(release.keys, Date.now())).boot.certificate.commonName;
    });
    const menu = (timeoutSeconds: number) => put(compileMenu({ ...MENU, timeoutSeconds, server, signer }));

    it('a menu: its last entry leads to the disk of the machine', async () => {
      await menu(600);
      const log = await boot(
        'bios',
        IPXE.bios,
        async (machine, press) => {
          await machine.waitFor([LAST]);
          // No key that a menu does not know does anything.
          await press('s', 'c', 'e', ...LAST_KEYS);
          await machine.waitFor([TO_DISK, OWN_DISK_LINE]);
        },
        { disks: [await biosDisk(release.folder)] },
      );
      expectAbsent(log, ['iPXE>', 'REFUSED', PLANTED, ...KERNEL_BANNER]);
    });

    it('a menu: Escape, and an entry whose seal does not fit, are refused', async () => {
      await menu(600);
      for (const [keys, says] of [
        [['esc'], 'REFUSED: could not start anything: nothing was chosen.'],
        [SECOND, `REFUSED: could not verify the script of forged as signed by ${signer}.`],
      ] as const) {
        const log = await boot('bios', IPXE.bios, async (machine, press) => {
          await machine.waitFor([LAST]);
          await press(...keys);
          await machine.waitFor([says, 'Nothing was started']);
        });
        expectAbsent(log, ['iPXE>', PLANTED, ...KERNEL_BANNER]);
      }
    });

    it('a machine that is held says who it is, asks again, and goes on to what it is given: a menu, and its default', async () => {
      await put(compileHold({ server, signer, seconds: 5 }));
      const log = await boot(
        'bios',
        IPXE.bios,
        async (machine) => {
          // It comes back to the same script twice before it is given something else.
          await machine.waitFor([
            'HELD: this machine is not known here',
            'HELD: this machine is not known here',
          ]);
          await machine.waitFor(['HELD: this machine is not known here', 'It asks again every 5 seconds']);
          await menu(3);
          await machine.waitFor([LAST, 'Verified: arch/2026.11.01', 'Linux version']);
        },
        { extra: SMBIOS },
      );
      expectMilestones(log, [/mac +52:54:00:77:/, ...NAMED, /bootseal machines explain 52:54:00:77:/]);
      expectAbsent(log, ['REFUSED']);
    });

    it('efi, the disk of the machine: a loader on a stick gives up, and the firmware goes on to the disk', async () => {
      await put(compileLocalDisk());
      const stick = await efiStick(release.folder, join(ipxe ?? '', IPXE.efi));
      const log = await boot('efi', IPXE.efi, (machine) => machine.waitFor([TO_DISK, OWN_DISK_LINE]), {
        netboot: false,
        ownDriver: true,
        extra: [...stick, ...(await efiDisk(release.folder))],
      });
      expectAbsent(log, ['REFUSED', 'iPXE>', ...KERNEL_BANNER]);
    });
  });
});
