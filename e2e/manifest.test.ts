import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, type Lan } from '../lab/lan.ts';
import { bootQemu } from '../lab/qemu.ts';
import { flip, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { copySite, startStatic } from '../lab/servers.ts';
import { buildGrubLoaders } from '../src/index.ts';
import { readKeyFolder } from '../src/signing/keys/key-folder.ts';
import { sealRecordOpenpgp } from '../src/signing/seal-record.ts';
import { openpgpSigner } from '../src/signing/signatories.ts';

/**
 * The manifest, enforced in early userspace by the verifier that runs under busybox. Every boot gets past
 * GRUB, which verifies signatures and knows nothing of releases: whatever is wrong bears the site's own seal.
 */
const URL = 'http://10.77.0.1';
const INSIDE = 'releases/arch/2026.11.01';
const RECORDS = ['release.manifest', 'release.manifest.cms.sig', 'release.manifest.sig'];
const SEALED_ROOT = [ROOTFS, `${ROOTFS}.sig`, `${ROOTFS}.cms.sig`, 'arch/x86_64/airootfs.sha512'];
const DAY = 86_400_000;

describe('early userspace enforcing the manifest', () => {
  let release: LabRelease;
  let older: LabRelease;
  let loaders: string;
  let lan: Lan;

  before(async () => {
    release = await labRelease({ url: URL });
    older = await labRelease({
      url: URL,
      keys: release.keys,
      version: '2026.10.01',
      // In the padding behind the file system: another image of the same length, which would boot.
      prepare: (tree) => flip(join(tree, ROOTFS), -1),
    });
    loaders = join(release.folder, 'loaders');
    await buildGrubLoaders({ anchors: release.keys, out: loaders, url: URL, now: Date.now() });
    lan = await createLan();
  });
  after(async () => {
    await lan?.close();
    await older?.remove();
    await release?.remove();
  });

  it('refuses a signed command line with checksum=n behind it', async () => {
    const site = await siteOf();
    await resign(site, (configuration) => configuration.replace(/ bootseal\.manifest=/, ' checksum=n$&'));
    const log = await bootFrom(site);
    expectRefused(log, 'wrong-command-line "checksum=n" is on the command line');
  });

  it('refuses the manifest of an older release', async () => {
    const site = await siteOf();
    await serveOlder(site, RECORDS);
    expectRefused(await bootFrom(site), 'mixed-releases release.manifest is not the one');
  });

  it('refuses the root image of an older release, whose own seals hold', async () => {
    const site = await siteOf();
    await serveOlder(site, SEALED_ROOT);
    const log = await bootFrom(site);
    expectMilestones(log, [
      'bootseal-early: manifest verified, arch/2026.11.01',
      'bootseal-early: checksum verified',
      'bootseal-early: OpenPGP verified',
      'bootseal-early: CMS verified',
    ]);
    expectRefused(log, 'mixed-releases airootfs.sfs is not the root image that arch/2026.11.01 lists');
  });

  it('refuses a release that is past its best-before by the clock of the machine', async () => {
    const log = await bootFrom(await siteOf(), new Date(Date.now() + 91 * DAY));
    expectRefused(log, 'stale arch/2026.11.01 was best before');
  });

  it('warns of yesterday’s release near its best-before, and boots it: GRUB takes every grub.cfg of the key', async () => {
    const log = await bootFrom(await siteOf(older), new Date(Date.now() + 80 * DAY));
    expectMilestones(log, [
      'Verified: arch/2026.10.01',
      /bootseal-early: WARNING arch\/2026\.10\.01 is best before \d{4}-\d\d-\d\d, 10 days from now/,
      'bootseal-early: manifest verified, arch/2026.10.01',
      'bootseal-early: root image verified, it is the one of arch/2026.10.01',
      REAL_ROOT_LINE,
    ]);
  });

  function expectRefused(log: string, reason: string): void {
    expectMilestones(log, [
      'Verified: arch/2026.11.01',
      'bootseal-early: started',
      `bootseal-early: REFUSED manifest: ${reason}`,
    ]);
    expectAbsent(log, ['bootseal-early: root mounted', REAL_ROOT_LINE]);
  }

  /** Everything that is served of a release, for one test to change. */
  async function siteOf(served = release): Promise<string> {
    const site = await mkdtemp(join(release.folder, 'site-'));
    await copySite(served, site);
    await cp(loaders, join(site, 'tftp'), { recursive: true });
    return site;
  }

  async function serveOlder(site: string, names: readonly string[]): Promise<void> {
    for (const name of names) await cp(join(older.tree, name), join(site, INSIDE, name));
  }

  /** Changes grub.cfg and seals it again with the site's key. */
  async function resign(site: string, change: (configuration: string) => string): Promise<void> {
    const path = join(site, 'grub.cfg');
    const bytes = Buffer.from(change(await readFile(path, 'latin1')), 'latin1');
    const { openpgp } = await readKeyFolder(release.keys, Date.now());
    await writeFile(path, bytes);
    await writeFile(
      `${path}.sig`,
      await sealRecordOpenpgp(bytes, openpgpSigner('openpgp-script', openpgp.script), Date.now()),
    );
  }

  async function bootFrom(site: string, clock?: Date): Promise<string> {
    const loader = 'bootseal-grub.0';
    const dhcp = await lan.startDhcp({ bios: loader, ipxe: loader, tftpRoot: join(site, 'tftp') });
    const server = await startStatic(lan, site, 80);
    try {
      const machine = await bootQemu({ lan, firmware: 'bios', ...(clock === undefined ? {} : { clock }) });
      return (await machine.ended).log;
    } finally {
      await server.stop();
      await dhcp.stop();
    }
  }
});
