import assert from 'node:assert/strict';
import { mkdtemp, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ARM64, ARM64_ROOT_LINE, arm64Grub, arm64Kernel, arm64Release, arm64Stub } from '../lab/arm64.ts';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { consoleOf } from '../lab/overlay.ts';
import { bootQemu, refusedLog } from '../lab/qemu.ts';
import { flip, type LabRelease } from '../lab/release.ts';
import { copySite, startProduct, startStatic } from '../lab/servers.ts';
import { buildGrubLoaders, uki } from '../src/index.ts';
import { ukiDnsmasqLines } from '../src/operations/dnsmasq.ts';

/**
 * A machine of arm64, from its firmware on: by PXE to a GRUB with the site's keys, or by HTTP Boot to one image, and on
 * to a root under dm-verity. Everything that runs on it comes from Debian's packages for arm64, unpacked.
 */
const URL = `http://${LAN_ADDRESS}`;
const LOADER = 'bootseal-grub-arm64.efi';
const INSIDE = `releases/${ARM64.release}`;
const TO_THE_ROOT = [
  /Booting Linux on physical CPU/,
  'bootseal: started, kernel 6.1.',
  'bootseal: network up',
  `bootseal: manifest verified, ${ARM64.release}`,
  'bootseal: dm-verity over NBD, root hash',
  'bootseal: root mounted',
  `${ARM64_ROOT_LINE}, aarch64`,
];
/** Neither the kernel's EFI stub nor anything after it says a word. */
const NOTHING_RAN = ['EFI stub', 'Booting Linux', 'Linux version', 'bootseal: started'];

describe('arm64, from firmware to a verified root', () => {
  let release: LabRelease;
  let loaders: string;
  let lan: Lan;

  before(async () => {
    release = await arm64Release(URL);
    loaders = join(release.folder, 'loaders');
    const modules = await arm64Grub();
    await buildGrubLoaders({
      anchors: release.keys,
      out: loaders,
      url: URL,
      arch: 'aarch64',
      modules,
      now: Date.now(),
    });
    lan = await createLan();
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  const machine = (extra: readonly string[] = []) =>
    bootQemu({ lan, firmware: 'arm64', memoryMiB: 1536, extra });

  it('boots by PXE: GRUB, signed grub.cfg, kernel, initrd and overlay, root over NBD', async () => {
    assert.deepEqual(await readdir(loaders), [LOADER]);
    const dhcp = await lan.startDhcp({ arm64: LOADER });
    const server = await startProduct(lan, release, { httpPort: 80, tftpPort: 69, loaders });
    try {
      expectMilestones(await consoleOf(await machine()), [
        // The line is longer than the console, and wrapped between its words.
        `(http,${LAN_ADDRESS})/entries/aarch64/machines/`,
        `Verified: ${ARM64.release}`,
        ...TO_THE_ROOT,
      ]);
    } finally {
      await server.stop();
      await dhcp.stop();
    }
  });

  for (const { path, what } of [
    { path: `${INSIDE}/${ARM64.initrd}`, what: 'the initrd' },
    { path: `${INSIDE}/${ARM64.overlay}`, what: 'the overlay' },
    { path: `${INSIDE}/${ARM64.kernel}`, what: 'the kernel' },
    { path: 'entries/aarch64/grub.cfg', what: 'grub.cfg' },
  ]) {
    it(`is refused by GRUB with a bit flipped in ${what}, and nothing of the next stage shows`, async () => {
      const site = await mkdtemp(join(release.folder, 'site-'));
      await copySite(release, site);
      await flip(join(site, path));
      const dhcp = await lan.startDhcp({ arm64: LOADER, tftpRoot: loaders });
      const server = await startStatic(lan, site, 80);
      try {
        const log = await refusedLog(await machine());
        expectMilestones(log, ['bad signature', 'REFUSED', 'Nothing was started']);
        expectAbsent(log, NOTHING_RAN);
      } finally {
        await server.stop();
        await dhcp.stop();
      }
    });
  }

  it('boots by HTTP Boot: one image, made with the stub of Debian 13', async () => {
    const stub = await arm64Stub('trixie');
    const made = await uki({
      tree: release.tree,
      url: URL,
      stub,
      signer: { keys: release.keys },
      now: Date.now(),
    });
    assert.equal(made.kernelVersion, (await arm64Kernel()).version);
    const lines = ukiDnsmasqLines(LAN_ADDRESS, 'entries/aarch64/uki.efi', 80, 'aarch64');
    const dhcp = await lan.startDhcp({ extra: lines.map((line) => `--${line}`) });
    const server = await startProduct(lan, release, { httpPort: 80, tftpPort: 69 });
    const withoutPxe = ['IPv4', 'IPv6'].flatMap((ip) => [
      '-fw_cfg',
      `name=opt/org.tianocore/${ip}PXESupport,string=no`,
    ]);
    try {
      expectMilestones(await consoleOf(await machine(withoutPxe)), TO_THE_ROOT);
    } finally {
      await server.stop();
      await dhcp.stop();
    }
  });

  it('an image is not made with the stub of Debian 12, nor with one of another architecture', async () => {
    const out = join(release.folder, 'none.efi');
    const make = (stub: string) =>
      uki({ tree: release.tree, url: URL, stub, out, signer: { keys: release.keys }, now: Date.now() });
    await assert.rejects(make(await arm64Stub('bookworm')), {
      name: 'Refusal',
      code: 'malformed',
      message: /no \.sdmagic, as those of systemd before 254 for arm64/,
    });
    await assert.rejects(make('/usr/lib/systemd/boot/efi/linuxx64.efi.stub'), {
      name: 'Refusal',
      code: 'wrong-machine',
      message: 'The stub is for x86_64, and the kernel is for aarch64.',
    });
  });
});
