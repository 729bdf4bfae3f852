import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import type { Firmware } from '../lab/grub.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { debianInstaller, memtest } from '../lab/netboot-images.ts';
import { type Published, type PublishRequest, publishCopy, rewrite } from '../lab/published.ts';
import { bootQemu, type QemuMachine, refusedLog } from '../lab/qemu.ts';
import { flip } from '../lab/release.ts';
import { copySite, startProduct, startStatic } from '../lab/servers.ts';
import { buildGrubLoaders, init } from '../src/index.ts';
import { demandVerified } from '../src/publish/publish-gate.ts';
import { unverifiedThings } from '../src/release/who-verifies.ts';
import { DEFAULT_POLICY_FILE } from '../src/trust/policy-file.ts';

/**
 * Systems without a root image, as their publishers lay them out: Debian's installer with the site's preseed in an
 * initrd of its own, and memtest86+, which is one file. GRUB verifies all that they consist of. On the LAN, somebody
 * answers the installer's DHCP request with a preseed of his.
 */
const URL = `http://${LAN_ADDRESS}`;
const NEIGHBOUR = `${LAN_ADDRESS}:8081`;
const LOADERS = { bios: 'bootseal-grub.0', efi: 'bootseal-grub.efi' };
const PRESEED = 'preseed.cfg';
const PACK = 'bootseal-pack.img';
const BY_DHCP = 'a preseed that DHCP names';

const SITE_RAN = 'THE PRESEED OF THE SITE RAN';
const OTHER_RAN = 'SOME OTHER PRESEED HAS RUN.';
const HOSTILE_RAN = 'A HOSTILE PRESEED RAN';
const says = (text: string) => `d-i preseed/early_command string echo ${text} > /dev/ttyS0`;
const ANSWERS = `d-i debian-installer/locale string en_US.UTF-8
d-i keyboard-configuration/xkb-keymap select us
d-i netcfg/get_hostname string machine
d-i netcfg/get_domain string lab
d-i mirror/country string manual
d-i mirror/http/hostname string ${NEIGHBOUR}
d-i mirror/http/directory string /debian
d-i mirror/http/proxy string
${says(SITE_RAN)}
`;
/** The network by words that the loader verified, so that no DHCP server is asked. */
const STATIC = `netcfg/disable_autoconfig=true netcfg/get_ipaddress=10.77.0.50 netcfg/get_netmask=255.255.255.0 netcfg/get_gateway=${LAN_ADDRESS} netcfg/get_nameservers=${LAN_ADDRESS} netcfg/confirm_static=true`;
/** A serial console that tests can read, and less to load; `rootfstype=ramfs` as a large pack needs it. */
const SERIAL = 'console=ttyS0 nomodeset DEBIAN_FRONTEND=text DEBCONF_DROP_TRANSLATIONS=1 rootfstype=ramfs';
const INSTALLER_BANNER = ['Linux version', 'debian-installer', SITE_RAN, OTHER_RAN];

describe('systems without a root image, by a GRUB that enforces signatures', () => {
  let folder: string;
  let keys: string;
  let loaders: string;
  let network: Lan | undefined;
  let releases = 0;
  const lan = (): Lan => {
    if (!network) throw new Error('the LAN is not up');
    return network;
  };

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'bootseal-e2e-'));
    keys = join(folder, 'keys');
    loaders = join(folder, 'loaders');
    await init(keys, { site: 'lab', kind: 'rsa', now: Date.now() });
    await buildGrubLoaders({ anchors: keys, out: loaders, url: URL, now: Date.now() });
    network = await createLan();
  });
  after(async () => {
    await network?.close();
    await rm(folder, { recursive: true, force: true });
  });

  async function published(from: string, request: Omit<PublishRequest, 'keys'>): Promise<Published> {
    const place = join(folder, String(releases++));
    await mkdir(place);
    return publishCopy(from, place, { url: URL, ...request, keys });
  }

  async function dhcpFor(firmware: Firmware, tftpRoot?: string) {
    const loader = LOADERS[firmware];
    return lan().startDhcp({
      [firmware]: loader,
      ipxe: loader,
      ...(tftpRoot === undefined ? {} : { tftpRoot }),
      // Firmware and loader are told the truth, and who calls itself debian-installer is not.
      extra: [
        '--dhcp-vendorclass=set:d-i,d-i',
        `--dhcp-boot=tag:d-i,http://${NEIGHBOUR}/hostile.cfg`,
        // Without any it asks a person.
        `--dhcp-option=option:dns-server,${LAN_ADDRESS}`,
      ],
    });
  }

  /** @returns the console, and what the neighbour was asked for. */
  async function boot(
    firmware: Firmware,
    release: Published,
    watch: (machine: QemuMachine) => Promise<void>,
  ): Promise<{ readonly log: string; readonly asked: string }> {
    const neighbours = join(folder, 'neighbour');
    await mkdir(neighbours, { recursive: true });
    await writeFile(join(neighbours, 'hostile.cfg'), `${says(HOSTILE_RAN)}\n`);
    const neighbour = await startStatic(lan(), neighbours, 8081);
    let asked = '';
    neighbour.child.stdout?.on('data', (piece: Buffer) => {
      asked += piece.toString('latin1');
    });
    const dhcp = await dhcpFor(firmware);
    const server = await startProduct(lan(), release, { httpPort: 80, tftpPort: 69, loaders });
    try {
      const machine = await bootQemu({ lan: lan(), firmware, hungAfter: 15 * 60_000 });
      try {
        await watch(machine);
      } finally {
        await machine.kill();
      }
      return { log: machine.log(), asked };
    } finally {
      await server.stop();
      await dhcp.stop();
      await neighbour.stop();
    }
  }

  /** The same files on a web server that serves anything, once `change` was there. */
  async function refused(
    firmware: Firmware,
    release: Published,
    change: (inside: string) => Promise<void>,
  ): Promise<string> {
    const site = await mkdtemp(join(folder, 'site-'));
    await copySite(release, site);
    await change(join(site, 'releases', release.release));
    await cp(loaders, join(site, 'tftp'), { recursive: true });
    const dhcp = await dhcpFor(firmware, join(site, 'tftp'));
    const server = await startStatic(lan(), site, 80);
    try {
      return await refusedLog(await bootQemu({ lan: lan(), firmware }));
    } finally {
      await server.stop();
      await dhcp.stop();
      await rm(site, { recursive: true });
    }
  }

  describe('debian-installer with its network on the sealed line, BIOS', () => {
    let release: Published;
    before(async () => {
      release = await published(await debianInstaller(), {
        release: 'debian/2026.11.01',
        adds: { [PRESEED]: ANSWERS },
        pack: [PRESEED],
        cmdline: `priority=critical ${STATIC} ${SERIAL}`,
      });
    });

    it('reads the site’s preseed and no other, and goes on to the mirror', async () => {
      const { layout, manifest } = release.sealed;
      assert.equal(layout.layout, 'debian-installer');
      assert.deepEqual(unverifiedThings(manifest), []);
      const { log, asked } = await boot('bios', release, (machine) =>
        machine.waitFor(['Verified: debian/2026.11.01', 'Linux version', SITE_RAN, 'Bad archive mirror']),
      );
      expectAbsent(log, [HOSTILE_RAN]);
      assert.match(asked, /GET \/debian\/dists\//);
      assert.doesNotMatch(asked, /hostile/);
    });

    it('is not started with another preseed in that initrd', async () => {
      const log = await refused('bios', release, (inside) =>
        rewrite(join(inside, PACK), SITE_RAN, OTHER_RAN),
      );
      expectMilestones(log, ['bad signature', 'REFUSED: an initrd is missing, or its OpenPGP signature']);
      expectAbsent(log, INSTALLER_BANNER);
    });
  });

  describe('debian-installer as it is, UEFI', () => {
    let release: Published;
    before(async () => {
      release = await published(await debianInstaller(), {
        release: 'debian/2026.11.02',
        adds: { [PRESEED]: ANSWERS },
        pack: [PRESEED],
        unverified: [BY_DHCP],
      });
    });

    it('runs a stranger’s preseed behind the site’s own, as it was said of it', async () => {
      const { layout, manifest } = release.sealed;
      assert.equal(layout.layout, 'debian-installer');
      assert.deepEqual(layout.cmdline, []);
      assert.deepEqual(
        unverifiedThings(manifest).map(({ name }) => name),
        [BY_DHCP],
      );
      assert.throws(
        () => demandVerified(manifest, DEFAULT_POLICY_FILE.publish),
        /^Refusal: Nobody on the machine verifies a preseed that DHCP names/,
      );
      const { asked } = await boot('efi', release, (machine) =>
        machine.waitFor(['Verified: debian/2026.11.02', SITE_RAN, HOSTILE_RAN]),
      );
      assert.match(asked, /200 GET \/hostile\.cfg/);
    });

    it('is not started with one bit flipped in the padding of that initrd', async () => {
      const log = await refused('efi', release, (inside) => flip(join(inside, PACK), -1));
      expectMilestones(log, ['bad signature', 'REFUSED: an initrd is missing, or its OpenPGP signature']);
      expectAbsent(log, INSTALLER_BANNER);
    });
  });

  for (const [firmware, file] of [
    ['bios', 'memtest86+x64.bin'],
    ['efi', 'memtest86+x64.efi'],
  ] as const) {
    describe(`memtest86+, ${file}`, () => {
      const SCREEN = /Memtest86\+ v6/;
      let release: Published;
      before(async () => {
        const alone = await mkdtemp(join(folder, 'memtest-'));
        await cp(join(await memtest(), file), join(alone, file));
        release = await published(alone, {
          release: 'memtest/2026.11.01',
          cmdline: 'console=ttyS0,115200',
        });
      });

      it('is a release of one file, and reaches its screen', async () => {
        const { layout, manifest } = release.sealed;
        assert.equal(layout.layout, 'memtest');
        assert.deepEqual(
          manifest.files.map(({ role }) => role),
          ['kernel'],
        );
        await boot(firmware, release, (machine) => machine.waitFor(['Verified: memtest/2026.11.01', SCREEN]));
      });

      it('is not started with one bit flipped', async () => {
        const log = await refused(firmware, release, (inside) => flip(join(inside, file)));
        expectMilestones(log, ['bad signature', 'REFUSED: the kernel is missing, or its OpenPGP signature']);
        expectAbsent(log, [SCREEN, 'Verified: ']);
      });
    });
  }
});
