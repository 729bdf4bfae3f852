import { cp, mkdir, mkdtemp, rm, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { emptyModules, modulesWithout } from '../lab/modules.ts';
import { startNbd } from '../lab/nbd.ts';
import { addOverlay, bootDirect, consoleOf, type DirectBoot } from '../lab/overlay.ts';
import { qmpArguments, startWithoutLink } from '../lab/qmp.ts';
import { flip, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { startSntp, startStatic } from '../lab/servers.ts';
import { startVlanPort } from '../lab/vlan-switch.ts';

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
/**
 * Signed as they are, so that the machine boots: the kernel makes variables of what it does not know, and has room for 32,
 * its own two and six of archiso's among them. Each would show on the console, or end the boot, where it reached what reads it.
 */
const HOSTILE = {
  verity: [
    'LD_PRELOAD=/bootseal/verify-manifest',
    'LD_AUDIT=/bootseal/policy',
    'LD_LIBRARY_PATH=/bootseal/anchors',
    'LD_DEBUG=all',
    'LD_SHOW_AUXV=1',
    'LD_TRACE_LOADED_OBJECTS=1',
    'GLIBC_TUNABLES=glibc.malloc.check=3',
    'PATH=/bootseal/anchors',
    'IFS=e',
    'ENV=/bootseal/policy',
    'BASH_ENV=/bootseal/policy',
    'SHELLOPTS=xtrace',
    'OPTIND=3',
    'HOME=/bootseal/anchors',
    'TZ=:/bootseal/policy',
    'LC_ALL=tr_TR.UTF-8',
    'OPENSSL_CONF=/bootseal/policy',
    'OPENSSL_MODULES=/bootseal',
    'OPENSSL_ENGINES=/bootseal',
    'OPENSSL_ia32cap=0',
    'SSL_CERT_FILE=/bootseal/policy',
    'outcome=verified',
    'again=no',
  ],
  ram: [
    'GNUPGHOME=/bootseal',
    'GPG_AGENT_INFO=/bootseal/policy',
    'LIBGCRYPT_FORCE_FIPS_MODE=1',
    'XDG_RUNTIME_DIR=/bootseal',
    'LD_BIND_NOW=1',
    'LD_WARN=1',
    'LD_PROFILE=libcrypto.so.3',
    'LD_PROFILE_OUTPUT=/bootseal',
    'MALLOC_PERTURB_=1',
    'MALLOC_CHECK_=3',
    'GCONV_PATH=/bootseal',
    'LOCPATH=/bootseal',
    'NLSPATH=/bootseal/%N',
    'RESOLV_HOST_CONF=/bootseal/policy',
    'HOSTALIASES=/bootseal/policy',
    'RES_OPTIONS=debug',
    'TMPDIR=/none',
    'TZDIR=/bootseal',
    'POSIXLY_CORRECT=1',
    'PS4=x',
    'OPENSSL_TRACE=ALL',
    'RANDFILE=/none',
    'path=/bootseal/anchors',
  ],
} as const;
const HANDED_OVER = /Unknown kernel command line parameters ".*", will be passed to user space\./;
/** What a loader, a shell or openssl would have said that heeded one. */
const HEEDED = [
  'ERROR: ld.so',
  'cannot be preloaded',
  'calling init',
  'AT_SYSINFO',
  'linux-vdso',
  'FATAL: Startup failure',
  'not found',
];
const HALTED = 'bootseal: Nothing of this release was started. The machine is halted.';

describe('the initrd overlay, mode verity', () => {
  let release: LabRelease;
  let older: LabRelease;
  let lan: Lan;

  before(async () => {
    release = await labRelease({
      words: HOSTILE.verity,
      free: ['ip dhcp', 'BOOTIF mac', 'archiso_http_srv url', 'vlan choice 10|20'],
      prepare: (tree, keys) => addOverlay(tree, keys, 'verity', { ntp: LAN_ADDRESS }),
    });
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

  it('mounts the root over NBD under dm-verity and starts systemd, with a clock that was lost', async () => {
    // Of no use to whoever wants the release stale; nor is a clock of 2001, which is before any key began.
    const sntp = await startSntp(lan, Date.UTC(2035, 0) / 1000);
    const log = await boot(await siteOf(), { clock: new Date('2001-02-03T04:05:06Z') });
    await sntp.stop();
    expectMilestones(log, [
      HANDED_OVER,
      'bootseal: started',
      /bootseal: The clock said 2001-02-03T04:0\d:\d\dZ, which is before this overlay was issued; it is set to 20/,
      'bootseal: network up',
      `bootseal: The time server ${LAN_ADDRESS} says 2035-01-01T00:0`,
      'bootseal: The clock is set forward to 20',
      "bootseal: WARNING The time server's clock is past 20",
      'bootseal: WARNING arch/2026.11.01 is best before',
      'bootseal: manifest verified, arch/2026.11.01',
      'bootseal: dm-verity over NBD, root hash',
      MOUNTED,
      'bootseal: starting /sbin/init',
      REAL_ROOT_LINE,
    ]);
    expectAbsent(log, ['bootseal-early:', ...HEEDED]);
  });

  it('takes the card that has a link, and a VLAN of it, where the command line names one', async () => {
    const port = await startVlanPort(lan, 10);
    const control = join(release.folder, 'control');
    const sntp = await startSntp(lan, 'silent');
    try {
      const log = await boot(await siteOf(), {
        commandLine: (words) => `${words} vlan=10`,
        extra: [...port.card, ...qmpArguments(control), '-S'],
        started: () => startWithoutLink(control, 'n0'),
      });
      expectMilestones(log, [
        'bootseal: started',
        /bootseal: network up on eth1, VLAN 10, 10\.77\.0\.\d+/,
        'bootseal: manifest verified, arch/2026.11.01',
        'bootseal: dm-verity over NBD, root hash',
        MOUNTED,
        REAL_ROOT_LINE,
      ]);
    } finally {
      await sntp.stop();
      await port.stop();
    }
  });

  it('stops the machine when a block of the root was changed, after it has waited for the time', async () => {
    const site = await siteOf();
    await flip(join(site, INSIDE, ROOTFS));
    const sntp = await startSntp(lan, 'silent');
    const log = await boot(site);
    await sntp.stop();
    expectMilestones(log, [
      `bootseal: WARNING The time server ${LAN_ADDRESS} did not answer; the clock stays as it is.`,
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
      what: 'a VLAN that is none',
      line: (words: string) => `${words} vlan=4095`,
      reason: 'wrong-command-line vlan= names no VLAN: that is a number from 1 to 4094.',
    },
    {
      what: 'a root hash without its seal',
      change: (site: string) => rm(join(site, INSIDE, `${ROOTFS}.roothash.cms.sig`)),
      reason: `absent ${ROOTFS}.roothash.cms.sig did not arrive`,
    },
    {
      what: 'a changed root hash',
      change: (site: string) => flip(join(site, INSIDE, `${ROOTFS}.roothash`)),
      reason: `bad-signature ${ROOTFS}.roothash.cms.sig does not match`,
    },
    {
      what: 'the root hash of another release, whose seal holds',
      change: async (site: string) => {
        for (const name of [`${ROOTFS}.roothash`, `${ROOTFS}.roothash.cms.sig`]) {
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

  async function boot(
    site: string,
    { started, ...options }: Partial<DirectBoot> & { readonly started?: () => Promise<void> } = {},
  ): Promise<string> {
    const http = await startStatic(lan, site, 8080);
    const root = join(site, INSIDE, ROOTFS);
    const nbd = await startNbd(lan, { [EXPORT]: root, [`${EXPORT}.verity`]: `${root}.verity` });
    try {
      // What the loader was given is the release as it was sealed.
      const machine = await bootDirect({ lan, tree: release.tree, release: release.release, ...options });
      await started?.();
      return await consoleOf(machine);
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
    release = await labRelease({
      words: HOSTILE.ram,
      prepare: (tree, keys) => addOverlay(tree, keys, 'ram', { require: ['openpgp'] }),
    });
    ({ size } = await stat(join(release.tree, ROOTFS)));
    large = await labRelease({
      keys: release.keys,
      words: HOSTILE.ram,
      prepare: async (tree, keys) => {
        await truncate(join(tree, ROOTFS), LARGE);
        await addOverlay(tree, keys, 'ram', { require: ['openpgp'] });
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
    expectAbsent(log, HEEDED);
    expectMilestones(log, [
      HANDED_OVER,
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
