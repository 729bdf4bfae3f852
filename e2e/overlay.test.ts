import { cp, mkdir, mkdtemp, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { emptyModules, modulesWithout } from '../lab/modules.ts';
import { startNbd } from '../lab/nbd.ts';
import { addOverlay, bootDirect, consoleOf, type DirectBoot } from '../lab/overlay.ts';
import { flip, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { startStatic } from '../lab/servers.ts';

/**
 * The overlay on a real kernel, behind an initramfs that knows nothing of it: root over NBD under dm-verity, and in
 * RAM. Kernel and initrds are started as a loader that verified them would; what the network serves is anybody's.
 */
const INSIDE = 'releases/arch/2026.11.01';
const EXPORT = 'arch/2026.11.01/airootfs';
const VERIFIED = [
  'bootseal: started',
  'bootseal: network up',
  'bootseal: manifest verified, arch/2026.11.01',
];
const MOUNTED = 'bootseal: root mounted';
/** Bytes of a root image that a machine of 1 GiB could not hold twice. */
const LARGE = 600 * 1024 * 1024;
const HALTED = 'bootseal: Nothing of this release was started. The machine is halted.';

describe('the initrd overlay, mode verity', () => {
  let release: LabRelease;
  let older: LabRelease;
  let lan: Lan;

  before(async () => {
    release = await labRelease({ prepare: (tree, keys) => addOverlay(tree, keys, 'verity') });
    older = await labRelease({
      keys: release.keys,
      version: '2026.10.01',
      prepare: async (tree, keys) => {
        // In the padding behind the file system: another image of the same length.
        await flip(join(tree, ROOTFS), -1);
        await addOverlay(tree, keys, 'verity');
      },
    });
    lan = await createLan();
    await lan.startDhcp({});
  });
  after(async () => {
    await lan?.close();
    await older?.remove();
    await release?.remove();
  });

  it('mounts the root over NBD under dm-verity and starts systemd', async () => {
    const log = await boot(await siteOf());
    expectMilestones(log, [
      ...VERIFIED,
      'bootseal: dm-verity over NBD, root hash',
      MOUNTED,
      'bootseal: starting /sbin/init',
      REAL_ROOT_LINE,
    ]);
    expectAbsent(log, ['bootseal-early:']);
  });

  it('stops the machine when a block of the root was changed', async () => {
    const site = await siteOf();
    await flip(join(site, INSIDE, ROOTFS));
    const log = await boot(site);
    expectMilestones(log, [
      MOUNTED,
      /verity: .* data block \d+ is corrupted/,
      'Kernel panic',
      'dm-verity device corrupted',
    ]);
    expectAbsent(log, [REAL_ROOT_LINE]);
  });

  for (const { what, change, line, reason } of [
    {
      what: 'a word that nobody signed',
      line: (words: string) => `${words} disablehooks=bootseal`,
      reason: 'wrong-command-line "disablehooks=bootseal" is on the command line where nobody signed it',
    },
    {
      what: 'a root hash without its seal',
      change: (site: string) => rm(join(site, INSIDE, `${ROOTFS}.roothash.p7s`)),
      reason: `absent ${ROOTFS}.roothash.p7s did not arrive`,
    },
    {
      what: 'a changed root hash',
      change: (site: string) => flip(join(site, INSIDE, `${ROOTFS}.roothash`)),
      reason: `bad-signature ${ROOTFS}.roothash.p7s does not match`,
    },
    {
      what: 'the root hash of another release, whose seal holds',
      change: async (site: string) => {
        for (const name of [`${ROOTFS}.roothash`, `${ROOTFS}.roothash.p7s`]) {
          await cp(join(older.tree, name), join(site, INSIDE, name));
        }
      },
      reason: `mixed-releases ${ROOTFS}.roothash is not the one that arch/2026.11.01 lists`,
    },
    {
      what: 'the hash tree of another release',
      change: (site: string) =>
        cp(join(older.tree, `${ROOTFS}.verity`), join(site, INSIDE, `${ROOTFS}.verity`)),
      reason: `mixed-releases ${EXPORT}.verity is not the hash tree that arch/2026.11.01 lists`,
    },
  ] as readonly {
    what: string;
    change?: (site: string) => Promise<void>;
    line?: (words: string) => string;
    reason: string;
  }[]) {
    it(`refuses ${what} before it mounts anything`, async () => {
      const site = await siteOf();
      await change?.(site);
      const log = await boot(site, line ? { commandLine: line } : {});
      expectMilestones(log, ['bootseal: started', `bootseal: REFUSED ${reason}`, HALTED]);
      expectAbsent(log, [MOUNTED, 'bootseal: starting', REAL_ROOT_LINE]);
    });
  }

  async function siteOf(): Promise<string> {
    const site = await mkdtemp(join(release.folder, 'site-'));
    await mkdir(join(site, 'releases/arch'), { recursive: true });
    await cp(release.tree, join(site, INSIDE), { recursive: true });
    return site;
  }

  async function boot(site: string, options: Partial<DirectBoot> = {}): Promise<string> {
    const http = await startStatic(lan, site, 8080);
    const root = join(site, INSIDE, ROOTFS);
    const nbd = await startNbd(lan, { [EXPORT]: root, [`${EXPORT}.verity`]: `${root}.verity` });
    try {
      // What the loader was given is the release as it was sealed.
      return await consoleOf(
        await bootDirect({ lan, tree: release.tree, release: release.release, ...options }),
      );
    } finally {
      await nbd.stop();
      await http.stop();
      await rm(site, { recursive: true });
    }
  }
});

describe('the initrd overlay, mode ram', () => {
  let release: LabRelease;
  let large: LabRelease;
  let lan: Lan;
  let size: number;

  before(async () => {
    release = await labRelease({ prepare: (tree, keys) => addOverlay(tree, keys, 'ram') });
    ({ size } = await stat(join(release.tree, ROOTFS)));
    large = await labRelease({
      keys: release.keys,
      prepare: async (tree, keys) => {
        await truncate(join(tree, ROOTFS), LARGE);
        await addOverlay(tree, keys, 'ram');
      },
    });
    lan = await createLan();
    await lan.startDhcp({});
  });
  after(async () => {
    await lan?.close();
    await large?.remove();
    await release?.remove();
  });

  it('boots an image of 600 MB, held once, on a machine of 1 GiB', async () => {
    const log = await boot(undefined, large);
    expectMilestones(log, [
      ...VERIFIED,
      `bootseal: fetching ${ROOTFS}, ${LARGE} bytes`,
      'bootseal: root image verified, it is the one of arch/2026.11.01',
      MOUNTED,
      REAL_ROOT_LINE,
    ]);
  });

  it('refuses an image with one byte changed before it mounts anything', async () => {
    const log = await boot((tree) => flip(join(tree, ROOTFS), -1));
    expectRefused(log, `mixed-releases ${ROOTFS} is not the root image that arch/2026.11.01 lists`);
  });

  it('refuses an image that never ends', async () => {
    const log = await boot((tree) => truncate(join(tree, ROOTFS), 2 * size));
    expectRefused(
      log,
      `mixed-releases ${ROOTFS} is longer than the ${size} bytes that arch/2026.11.01 lists`,
    );
  });

  it('refuses an image that ends early', async () => {
    const log = await boot((tree) => truncate(join(tree, ROOTFS), size / 2));
    expectRefused(log, `unreachable ${ROOTFS} ended after ${size / 2} bytes of ${size}`);
  });

  function expectRefused(log: string, reason: string): void {
    expectMilestones(log, [...VERIFIED, `bootseal: REFUSED ${reason}`, HALTED]);
    expectAbsent(log, [MOUNTED, 'bootseal: starting', REAL_ROOT_LINE]);
  }

  async function boot(change?: (tree: string) => Promise<void>, sealed = release): Promise<string> {
    const site = await mkdtemp(join(sealed.folder, 'site-'));
    await mkdir(join(site, 'releases/arch'), { recursive: true });
    await cp(sealed.tree, join(site, INSIDE), { recursive: true });
    await change?.(join(site, INSIDE));
    const http = await startStatic(lan, site, 8080);
    try {
      return await consoleOf(
        await bootDirect({ lan, tree: sealed.tree, release: sealed.release, memoryMiB: 1024 }),
      );
    } finally {
      await http.stop();
      await rm(site, { recursive: true });
    }
  }
});

describe('the initrd overlay, mode verity, on a kernel without nbd and dm-verity', () => {
  let lan: Lan;
  let bare: string;
  before(async () => {
    bare = await modulesWithout(['nbd', 'dm_verity']);
    lan = await createLan();
    await lan.startDhcp({});
  });
  after(async () => {
    await lan?.close();
    await rm(bare, { recursive: true });
  });

  it('goes on in mode ram where the policy allows, and says so', async () => {
    expectMilestones(await boot({ fallback: 'ram', modules: bare }), [
      ...VERIFIED,
      'bootseal: WARNING This kernel has no nbd: going on in mode ram, as the policy of this overlay allows.',
      'bootseal: root image verified, it is the one of arch/2026.11.01',
      REAL_ROOT_LINE,
    ]);
  });

  it('refuses where it does not', async () => {
    // Built for a kernel that has them, on one where they do not load.
    const log = await boot({}, bare);
    expectMilestones(log, [
      ...VERIFIED,
      'bootseal: REFUSED absent This kernel has no nbd, which mode verity needs',
      HALTED,
    ]);
    expectAbsent(log, [MOUNTED, REAL_ROOT_LINE]);
  });

  /** `later`: modules of an overlay behind the sealed one, which a loader was given as well. */
  async function boot(options: Parameters<typeof addOverlay>[3], later?: string): Promise<string> {
    const release = await labRelease({
      prepare: (tree, keys) => addOverlay(tree, keys, 'verity', options),
    });
    const site = join(release.folder, 'site');
    await mkdir(join(site, 'releases/arch'), { recursive: true });
    await cp(release.tree, join(site, INSIDE), { recursive: true });
    const http = await startStatic(lan, site, 8080);
    try {
      return await consoleOf(
        await bootDirect({
          lan,
          tree: release.tree,
          release: release.release,
          ...(later === undefined ? {} : { behind: await emptyModules(later) }),
        }),
      );
    } finally {
      await http.stop();
      await release.remove();
    }
  }
});
