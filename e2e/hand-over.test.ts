import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones, type Milestone } from '../lab/console.ts';
import { addFiles, FAMILIES, type Family, labInitramfs } from '../lab/families.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { startNbd } from '../lab/nbd.ts';
import { addOverlay, bootDirect, consoleOf } from '../lab/overlay.ts';
import { flip, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { startStatic } from '../lab/servers.ts';

/**
 * An overlay that hands over: /init of the initramfs that it rides on runs, with its own hooks, and can end in the
 * verified root or in a halt. The initramfs are Debian's own, and a stand-in for mkinitcpio, which Debian lacks.
 */
const INSIDE = 'releases/arch/2026.11.01';
const EXPORT = 'arch/2026.11.01/airootfs';
const MOUNTED = 'bootseal: root mounted';
const HALTED = 'bootseal: The root of this release was not started. The machine is halted.';
/** A web server gives no nonce: nothing is reported there. */
const NONCE = /^404 GET \/api\/v1\/boots\/nonce\?mac=52:54:00:77:/;
/** What each family's shell, or the way to it, shows. */
const SHELLS: readonly Milestone[] = [
  '(initramfs)',
  '[rootfs ',
  'dracut:/#',
  'Entering emergency mode',
  'emergency shell',
  "can't access tty",
  /^(sh|bash)-[\d.]+#/m,
];

interface Known {
  /** The word for the family on the console. */
  readonly name: string;
  /** A file of the site's that makes the boot fail, behind the root's mounting where the family has such a place. */
  readonly broken: Readonly<Record<string, string>>;
  /** Said while its /init runs. */
  readonly says: readonly Milestone[];
}

const KNOWN: Readonly<Record<Family, Known>> = {
  'initramfs-tools': {
    name: 'initramfs-tools',
    broken: {
      'scripts/init-bottom/ORDER': '/scripts/init-bottom/site "$@"\n',
      'scripts/init-bottom/site': '#!/bin/sh\n. /scripts/functions\npanic "The site is out of order"\n',
    },
    says: ['Begin: Mounting root file system', 'bootseal: starting /sbin/init of the verified root'],
  },
  dracut: {
    name: 'dracut',
    broken: { 'usr/lib/dracut/hooks/pre-pivot/50-site.sh': 'die "The site is out of order"\n' },
    says: ['bootseal: starting /sbin/init of the verified root'],
  },
  'dracut with systemd': {
    name: 'systemd',
    broken: {
      'usr/lib/dracut/hooks/pre-pivot/50-site.sh': 'emergency_shell "The site is out of order"\n',
    },
    says: ['Mounted sysroot.mount - The verified root', 'bootseal: starting /sbin/init of the verified root'],
  },
  mkinitcpio: {
    name: 'mkinitcpio',
    broken: { 'hooks/site': 'run_latehook() {\n\tumount /new_root\n}\n' },
    says: ['a hook of the site saw the root', 'bootseal: starting /sbin/init of the verified root'],
  },
};

describe('the initrd overlay, handing over', () => {
  let release: LabRelease;
  let lan: Lan;

  before(async () => {
    release = await labRelease({
      prepare: (tree, keys) => addOverlay(tree, keys, 'verity', { handOver: true }),
    });
    lan = await createLan();
    await lan.startDhcp({});
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  for (const family of FAMILIES) {
    const { name, broken, says } = KNOWN[family];
    describe(`to ${family}`, () => {
      it('ends in the verified root', async () => {
        const log = await boot(await labInitramfs(family));
        expectMilestones(log, [
          MOUNTED,
          `bootseal: handing over to /init of the initramfs (${name})`,
          ...says,
          REAL_ROOT_LINE,
        ]);
        expectAbsent(log, [...SHELLS, ':: archiso', 'bootseal: REFUSED']);
      });

      // Once with a busybox and once with systemd: dm-verity is the kernel's, whatever reads.
      const reads = family === 'mkinitcpio' || family === 'dracut with systemd';
      if (reads)
        it('stops the machine when a block of the root was changed', async () => {
          const log = await boot(await labInitramfs(family), (site) => flip(join(site, ROOTFS)));
          expectMilestones(log, [MOUNTED, /verity: .* data block \d+ is corrupted/, 'Kernel panic']);
          expectAbsent(log, [...SHELLS, REAL_ROOT_LINE]);
        });

      it('halts, without a shell, where a hook of the initramfs fails, and asks to tell the server', async () => {
        const asked: string[] = [];
        const log = await boot(addFiles(await labInitramfs(family), broken), undefined, asked);
        // Once for the root that was verified, and once more.
        assert.equal(asked.filter((line) => NONCE.test(line)).length, 2, asked.join('\n'));
        expectMilestones(log, [
          MOUNTED,
          'bootseal: handing over',
          'bootseal: REFUSED no-verdict The initramfs gave up',
          HALTED,
        ]);
        expectAbsent(log, [...SHELLS, REAL_ROOT_LINE]);
      });
    });
  }

  for (const { what, hook, reason } of [
    {
      what: 'mounts another root in its place',
      hook: 'mount -t tmpfs other /new_root\n\tmkdir -p /new_root/sbin\n\tcp -a /usr/bin/busybox /new_root/sbin/init',
      reason: 'What the initramfs has mounted at /new_root is not the verified root.',
    },
    {
      what: 'mounts something inside it',
      hook: 'mount -t tmpfs other /new_root/etc',
      reason: 'The initramfs has mounted /new_root/etc inside the verified root.',
    },
    {
      what: 'would start a shell in it',
      hook: 'init=/bin/sh',
      reason: 'The initramfs would start /bin/sh in the verified root.',
    },
    {
      what: 'enters another root by a way of its own',
      hook: [
        'mkdir /elsewhere',
        'mount -t tmpfs other /elsewhere',
        'cp -a /usr/bin/busybox /elsewhere/busybox',
        'exec busybox switch_root /elsewhere /busybox sleep 1000',
      ].join('\n\t'),
      reason: 'The initramfs has entered another root than the verified one.',
    },
  ]) {
    it(`halts the machine where the initramfs ${what}`, async () => {
      const files = { 'hooks/site': `run_latehook() {\n\t${hook}\n}\n` };
      const asked: string[] = [];
      const log = await boot(addFiles(await labInitramfs('mkinitcpio'), files), undefined, asked);
      // Another root would run while somebody is told.
      const tells = reason.startsWith('The initramfs has entered') ? 1 : 2;
      assert.equal(asked.filter((line) => NONCE.test(line)).length, tells, asked.join('\n'));
      expectMilestones(log, [
        MOUNTED,
        'bootseal: handing over',
        `bootseal: REFUSED no-verdict ${reason}`,
        HALTED,
      ]);
      expectAbsent(log, [...SHELLS, REAL_ROOT_LINE]);
    });
  }

  it('refuses an initramfs of no family that it knows', async () => {
    const log = await boot(addFiles(new Uint8Array(), { init: '#!/bootseal/bin/busybox sh\nsh\n' }));
    expectMilestones(log, [
      MOUNTED,
      'bootseal: REFUSED absent This initramfs is of no family that this overlay can hand over to',
      'The machine is halted.',
    ]);
    expectAbsent(log, [...SHELLS, REAL_ROOT_LINE]);
  });

  /** @param asked gets what the web server was asked for, and answered. */
  async function boot(
    initramfs: Uint8Array,
    change?: (site: string) => Promise<void>,
    asked: string[] = [],
  ): Promise<string> {
    const site = await mkdtemp(join(release.folder, 'site-'));
    await mkdir(join(site, 'releases/arch'), { recursive: true });
    const tree = join(site, INSIDE);
    await cp(release.tree, tree, { recursive: true });
    await change?.(tree);
    const http = await startStatic(lan, site, 8080);
    if (http.child.stdout)
      createInterface({ input: http.child.stdout }).on('line', (line) => asked.push(line));
    const root = join(tree, ROOTFS);
    const nbd = await startNbd(lan, { [EXPORT]: root, [`${EXPORT}.verity`]: `${root}.verity` });
    try {
      return await consoleOf(
        await bootDirect({ lan, tree: release.tree, release: release.release, initramfs }),
      );
    } finally {
      await nbd.stop();
      await http.stop();
      await rm(site, { recursive: true });
    }
  }
});
