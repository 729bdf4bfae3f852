import assert from 'node:assert/strict';
import { cp, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones, type Milestone } from '../lab/console.ts';
import { labInitramfs } from '../lab/families.ts';
import { labKernel } from '../lab/kernel.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import {
  casperInitramfs,
  dracutLiveInitramfs,
  LTSP_LINE,
  liveBootInitramfs,
  ltspImage,
} from '../lab/live.ts';
import { startNbd } from '../lab/nbd.ts';
import { addOverlay, bootDirect, consoleOf } from '../lab/overlay.ts';
import { flip } from '../lab/release.ts';
import { labRootfs, REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { startStatic } from '../lab/servers.ts';
import { type SmallRoot, smallRoot } from '../lab/small-root.ts';
import { init, seal, verify } from '../src/index.ts';

/**
 * Live systems that know nothing of Bootseal, booted so that their root is verified: inside an initrd that the loader
 * has checked, and mounted under dm-verity by an overlay that hands over. The trees lie as their publishers lay them
 * out, and `seal` is told nothing but what to pack.
 */
const CONSOLE = 'console=ttyS0 panic=-1';
const SHELLS: readonly Milestone[] = ['(initramfs)', 'dracut:/#', 'emergency shell', "can't access tty"];
const CUT_OFF = 'Initramfs unpacking failed: write error';

let folder: string;
let keys: string;
let lan: Lan;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'bootseal-live-'));
  keys = join(folder, 'keys');
  await init(keys, { site: 'lab', kind: 'rsa', now: Date.now() });
  lan = await createLan();
  await lan.startDhcp({});
});
after(async () => {
  await lan?.close();
  await rm(folder, { recursive: true, force: true });
});

/** A tree at the place where it is served, with the lab's kernel and these files. */
async function treeOf(release: string, kernel: string, files: Readonly<Record<string, Uint8Array>>) {
  const site = await mkdtemp(join(folder, 'site-'));
  const tree = join(site, 'releases', release);
  const all = { ...files, [kernel]: await readFile((await labKernel()).vmlinuz) };
  for (const [path, bytes] of Object.entries(all)) {
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await writeFile(join(tree, path), bytes);
  }
  return { site, tree };
}

describe('a root image in an initrd', () => {
  const RELEASE = 'live/2026.11.01';
  const LIVE_BOOT = { initrd: 'live/initrd.img', kernel: 'live/vmlinuz', image: 'live/filesystem.squashfs' };
  const DRACUT = { initrd: 'LiveOS/initrd.img', kernel: 'LiveOS/vmlinuz', image: 'LiveOS/squashfs.img' };

  async function sealed(of: typeof LIVE_BOOT, initramfs: Uint8Array, root: SmallRoot, layout?: string) {
    const { tree } = await treeOf(RELEASE, of.kernel, { [of.initrd]: initramfs, [of.image]: root.image });
    const options = { tree, keys, now: Date.now(), release: RELEASE, pack: [of.image] };
    const result = await seal({ ...options, ...(layout === undefined ? {} : { layout }) });
    return { ...result, tree };
  }

  async function boot(tree: string, memoryMiB: number, change = (line: string) => line) {
    const commandLine = (line: string) => change(`${line} ${CONSOLE}`);
    return consoleOf(await bootDirect({ lan, tree, release: RELEASE, memoryMiB, commandLine }));
  }

  describe('of live-boot', () => {
    let root: SmallRoot;
    let tree: string;

    // More than the half of what such a machine has free, and less than all.
    before(async () => {
      root = await smallRoot(72);
      const release = await sealed(LIVE_BOOT, await liveBootInitramfs(), root);
      tree = release.tree;
      assert.equal(release.manifest.layout, 'live-boot');
      assert.deepEqual(release.manifest.cmdline, [
        'boot=live',
        'live-media=/bootseal-medium',
        'rootfstype=ramfs',
      ]);
      assert.deepEqual(
        release.manifest.files.map(({ role, path }) => `${role} ${path}`),
        ['kernel live/vmlinuz', 'initrd live/initrd.img', 'initrd bootseal-pack.img'],
      );
    });

    it('boots from it, whole, with the words that seal adds', async () => {
      const log = await boot(tree, 320);
      expectMilestones(log, ['Begin: Mounting "/run/live/medium/live/filesystem.squashfs"', root.line]);
      expectAbsent(log, [...SHELLS, CUT_OFF, 'BOOT FAILED']);
    });

    for (const [what, word] of [
      ['without them', ''],
      ['where another word asks for a tmpfs', 'rootfstype=tmpfs'],
    ] as const) {
      it(`is cut off at half of the memory ${what}, and the kernel goes on`, async () => {
        const log = await boot(tree, 320, (line) => line.replace('rootfstype=ramfs', word));
        // Its length is right.
        const sectors = root.image.length / 512;
        expectMilestones(log, [
          CUT_OFF,
          'Run /init as init process',
          `loop0: detected capacity change from 0 to ${sectors}`,
          'BOOT FAILED',
        ]);
        expectAbsent(log, [REAL_ROOT_LINE, ...SHELLS]);
      });
    }

    it('stops the kernel where the memory is too small for it', async () => {
      const log = await boot(tree, 200);
      expectMilestones(log, ['Kernel panic - not syncing: System is deadlocked on memory']);
      expectAbsent(log, [REAL_ROOT_LINE, CUT_OFF, 'Run /init']);
    });

    it('is refused where a byte of it was altered', async () => {
      await flip(join(tree, 'bootseal-pack.img'));
      const { refusal } = await verify({ tree, anchors: join(keys, 'anchors'), now: Date.now() });
      assert.match(refusal?.message ?? '', /bootseal-pack\.img/);
    });
  });

  it('of dracut boots from it, whole: its root= alone lifts the limit', async () => {
    const root = await smallRoot(72);
    const release = await sealed(DRACUT, await dracutLiveInitramfs(), root, 'dracut-live');
    assert.deepEqual(release.manifest.cmdline, [
      'rd.live.image',
      'root=live:/bootseal-root.img',
      'rd.live.overlay.overlayfs=1',
    ]);
    const log = await boot(release.tree, 320);
    expectMilestones(log, ['dracut: root was live:/bootseal-root.img', 'dracut: Switching root', root.line]);
    expectAbsent(log, [...SHELLS, CUT_OFF]);
  });
});

describe('a root under dm-verity, handed over to', () => {
  interface Known {
    readonly name: string;
    readonly kernel: string;
    readonly image: string;
    readonly words: string;
    readonly files: () => Promise<Readonly<Record<string, Uint8Array>>>;
    readonly initrds: readonly string[];
    readonly says: readonly Milestone[];
  }
  // casper is a stand-in, since Debian lacks it.
  const KNOWN: readonly Known[] = [
    {
      name: 'live-boot',
      kernel: 'live/vmlinuz',
      image: 'live/filesystem.squashfs',
      words: 'boot=live',
      files: async () => ({ 'live/initrd.img': await liveBootInitramfs() }),
      initrds: ['live/initrd.img'],
      says: ['Begin: Mounting root file system'],
    },
    {
      name: 'casper',
      kernel: 'casper/vmlinuz',
      image: 'casper/filesystem.squashfs',
      words: 'boot=casper',
      files: async () => ({ 'casper/initrd': await casperInitramfs() }),
      initrds: ['casper/initrd'],
      says: ['Begin: Mounting root file system'],
    },
    {
      name: 'ltsp',
      kernel: 'ltsp/x86_64/vmlinuz',
      image: 'images/x86_64.img',
      words: 'ltsp.overlay=0',
      files: async () => ({
        'ltsp/ltsp.img': await ltspImage(),
        'ltsp/x86_64/initrd.img': await labInitramfs('initramfs-tools'),
      }),
      initrds: ['ltsp/ltsp.img', 'ltsp/x86_64/initrd.img'],
      says: ['Running /sbin/ltsp initrd-bottom'],
    },
  ];

  for (const { name, kernel, image, words, files, initrds, says } of KNOWN) {
    describe(name, () => {
      const release = `${name}/2026.11.01`;
      let site: string;
      let tree: string;

      before(async () => {
        const all = { ...(await files()), [image]: await readFile(await labRootfs()) };
        ({ site, tree } = await treeOf(release, kernel, all));
        await addOverlay(tree, keys, 'verity', { handOver: true, name, minSerial: 1 });
        const cmdline = `${words} ${CONSOLE}`;
        const { manifest } = await seal({ tree, keys, now: Date.now(), release, cmdline });
        assert.equal(manifest.layout, name);
        const loaded = manifest.files.filter(({ role }) => role === 'initrd').map(({ path }) => path);
        assert.deepEqual(loaded, initrds);
      });

      it('ends in it', async () => {
        const log = await boot();
        expectMilestones(log, [
          'bootseal: root mounted',
          'bootseal: handing over to /init of the initramfs (initramfs-tools)',
          ...says,
          'bootseal: starting /sbin/init of the verified root',
          ...(name === 'ltsp' ? [LTSP_LINE] : []),
          `${REAL_ROOT_LINE} (Debian GNU/Linux 12 (bookworm), PID 1 is systemd)`,
        ]);
        expectAbsent(log, [...SHELLS, 'bootseal: REFUSED', 'LTSP boot error', 'BOOT FAILED']);
      });

      // dm-verity is the kernel's, whatever reads.
      if (name === 'live-boot')
        it('stops when a block of it was changed', async () => {
          const log = await boot((path) => flip(path));
          expectMilestones(log, [
            'bootseal: root mounted',
            /verity: .* data block \d+ is corrupted/,
            'Kernel panic',
          ]);
          expectAbsent(log, [...SHELLS, REAL_ROOT_LINE]);
        });

      async function boot(change?: (path: string) => Promise<void>): Promise<string> {
        const served = await mkdtemp(join(folder, 'served-'));
        await cp(site, served, { recursive: true });
        const root = join(served, 'releases', release, image);
        await change?.(root);
        const http = await startStatic(lan, served, 8080);
        const name = `${release}/${image.slice(image.lastIndexOf('/') + 1).replace(/\.[^.]*$/, '')}`;
        const nbd = await startNbd(lan, { [name]: root, [`${name}.verity`]: `${root}.verity` });
        try {
          return await consoleOf(await bootDirect({ lan, tree, release }));
        } finally {
          await nbd.stop();
          await http.stop();
          await rm(served, { recursive: true });
        }
      }
    });
  }
});
