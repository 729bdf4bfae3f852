import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { bootseal, type ServingCli, serveByCli } from '../lab/cli.ts';
import { expectAbsent, expectMilestones, type Milestone } from '../lab/console.ts';
import { KERNEL_BANNER } from '../lab/grub.ts';
import {
  GROUPS,
  loaderFolder,
  MACHINES,
  MACHINES_URL,
  type MachinesLan,
  machinesLan,
} from '../lab/machines-lan.ts';
import { biosDisk, OWN_DISK_LINE } from '../lab/own-disk.ts';
import { bootQemu, type QemuMachine, type QemuOptions } from '../lab/qemu.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { buildGrubLoaders } from '../src/index.ts';

/**
 * One LAN, one STATE, `bootseal serve --proxydhcp` beside somebody else's DHCP server: each machine reaches what was
 * written down about it, whatever its firmware.
 */

/** As many machines at once as a busy host has may be slow. */
const PATIENCE = 15 * 60_000;

/** From a script that was verified up to a root that was. */
function reached(group: keyof typeof GROUPS): readonly Milestone[] {
  const { release, word } = GROUPS[group];
  return [
    `Verified: ${release}`,
    new RegExp(`ommand line: .* ${word} `),
    `bootseal-early: manifest verified, ${release}`,
    `bootseal-early: root image verified, it is the one of ${release}`,
    REAL_ROOT_LINE,
  ];
}

const otherRelease = (group: keyof typeof GROUPS) =>
  Object.values(GROUPS)
    .filter((one) => one !== GROUPS[group])
    .map(({ release }) => release);

async function machine(
  { lan }: MachinesLan,
  mac: string,
  options: Omit<QemuOptions, 'lan'>,
): Promise<QemuMachine> {
  return bootQemu({ lan, mac, hungAfter: PATIENCE, ...options });
}

async function wholeBoot(
  place: MachinesLan,
  mac: string,
  options: Omit<QemuOptions, 'lan'>,
): Promise<string> {
  return (await (await machine(place, mac, options)).ended).log;
}

/** A machine that is switched off as soon as it has shown these. */
async function until(
  place: MachinesLan,
  mac: string,
  milestones: readonly Milestone[],
  options: Omit<QemuOptions, 'lan'>,
): Promise<string> {
  const one = await machine(place, mac, options);
  await one.waitFor(milestones);
  await one.kill();
  return one.log();
}

describe('a LAN on which each machine gets what was written down about it', () => {
  let place: MachinesLan;
  let server: ServingCli;

  before(async () => {
    place = await machinesLan();
    const loaders = join(place.folder, 'loaders');
    await buildGrubLoaders({ anchors: place.keys, out: loaders, url: MACHINES_URL, now: Date.now() });
    server = await serveByCli(place.lan, [
      ...['--state', place.state, '--anchors', place.anchors, '--channel', GROUPS.lab.channel],
      ...['--loaders', loaders, '--proxydhcp', 'br0', '--http-port', '80'],
    ]);
  });
  after(async () => {
    await server?.stop();
    await place?.close();
  });

  it('a machine of each group, BIOS and UEFI, ends in the root of its own release, with its own words', async () => {
    const [lab, kiosk] = await Promise.all([
      wholeBoot(place, MACHINES.lab, { firmware: 'bios' }),
      wholeBoot(place, MACHINES.kiosk, { firmware: 'efi', ownDriver: true }),
    ]);
    for (const [group, log] of [
      ['lab', lab],
      ['kiosk', kiosk],
    ] as const) {
      expectMilestones(log, reached(group));
      expectAbsent(log, ['REFUSED', ...otherRelease(group)]);
    }
  });

  it('an unknown machine is held, one goes to its own disk, and one that gets nothing is told nothing', async () => {
    const disks = [await biosDisk(place.folder)];
    const [held, local, banned] = await Promise.all([
      until(
        place,
        MACHINES.stranger,
        [
          'HELD: this machine is not known here, and nothing was started.',
          `mac           ${MACHINES.stranger}`,
          `bootseal machines explain ${MACHINES.stranger}`,
        ],
        { firmware: 'bios' },
      ),
      until(place, MACHINES.disk, ['Verified: this machine starts from its own disk.', OWN_DISK_LINE], {
        firmware: 'bios',
        disks,
      }),
      until(place, MACHINES.banned, ['Nothing to boot'], { firmware: 'bios' }),
    ]);
    for (const log of [held, local, banned]) expectAbsent(log, ['REFUSED', ...KERNEL_BANNER]);
    expectAbsent(banned, ['GRUB', 'Verified', 'HELD', OWN_DISK_LINE]);
    const silent = server.log().filter(({ mac }) => mac === MACHINES.banned);
    assert.deepEqual(
      [...new Set(silent.map(({ msg }) => msg))],
      ['dhcp: silent'],
      'nothing but silence is logged of it',
    );
  });

  it('and "machines explain" says of each what it gets and why', async () => {
    for (const [name, gets, by] of [
      ['lab', 'what stable names, hostname=lab', 'group labs'],
      ['kiosk', 'what testing names, hostname=kiosk', 'group kiosks'],
      ['disk', 'its own disk', 'its own entry'],
      ['banned', 'nothing', 'its own entry'],
      ['stranger', 'a script that shows who it is, for enrolment', 'no group'],
    ] as const) {
      const { status, stdout } = await bootseal(
        ...['machines', 'explain', MACHINES[name], '--state', place.state, '--loader', 'grub'],
      );
      assert.equal(status, 0);
      assert.match(stdout, new RegExp(`gets +${gets}\n`), name);
      assert.match(stdout, new RegExp(`by +.*${by}`), name);
    }
  });
});

const folder = process.env.BOOTSEAL_IPXE;
const verifying = folder !== undefined && existsSync(join(folder, 'undionly.kpxe'));
const unset =
  'BOOTSEAL_IPXE names no folder with a loader that can verify: docs/testing.md says how to make one';

describe('the same LAN, with an iPXE that verifies', { skip: verifying ? false : unset }, () => {
  it('says who it is, and a machine of a group reaches its release while an unknown one is held', async () => {
    const loader = join(folder ?? '', 'undionly.kpxe');
    const place = await machinesLan(join(folder ?? '', 'keys'));
    const loaders = await loaderFolder(join(place.folder, 'ipxe'), loader, 'undionly.kpxe');
    const common = ['--state', place.state, '--anchors', place.anchors, '--channel', GROUPS.lab.channel];
    // The loader asks at 8080, and the scripts name port 80.
    const servers = [
      await serveByCli(place.lan, [...common, '--loaders', loaders, '--proxydhcp', 'br0']),
      await serveByCli(place.lan, [
        ...[...common, '--bind', '10.77.0.1', '--http-port', '80', '--no-tftp', '--no-nbd'],
      ]),
    ];
    try {
      const [kiosk, held] = await Promise.all([
        wholeBoot(place, MACHINES.kiosk, { firmware: 'bios' }),
        until(
          place,
          MACHINES.stranger,
          [
            'HELD: this machine is not known here, and nothing was started.',
            new RegExp(`mac +${MACHINES.stranger}`),
            `bootseal machines explain ${MACHINES.stranger}`,
          ],
          { firmware: 'bios' },
        ),
      ]);
      expectMilestones(kiosk, reached('kiosk'));
      expectAbsent(kiosk, ['REFUSED', 'UNVERIFIED', ...otherRelease('kiosk')]);
      expectAbsent(held, ['REFUSED', ...KERNEL_BANNER]);
    } finally {
      for (const server of servers) await server.stop();
      await place.close();
    }
  });
});
