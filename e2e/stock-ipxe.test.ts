import { cp, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, it, type TestContext } from 'node:test';
import { expectAbsent, expectMilestones } from '../lab/console.ts';
import { createLan, LAN_ADDRESS, type Lan } from '../lab/lan.ts';
import { waitForOutput } from '../lab/output.ts';
import { bootQemu, type QemuEnd } from '../lab/qemu.ts';
import { CHECKSUM, flip, INITRD, KERNEL, type LabRelease, labRelease, ROOTFS } from '../lab/release.ts';
import { REAL_ROOT_LINE } from '../lab/rootfs.ts';
import { copySite, type RunningServer, startProduct, startStatic } from '../lab/servers.ts';

/**
 * (a) Debian's iPXE, which cannot verify: allowed by configuration and labelled so. Script, kernel and initrd
 * are not caught by this loader; the root image is verified by early userspace all the same.
 */
const SCRIPT_URL = `http://${LAN_ADDRESS}:8080/autoexec.ipxe`;
const LABELLED = ['UNVERIFIED LOADER', 'UNVERIFIED LOADER', 'bootseal-early: started'];
const EARLY = [
  'bootseal-early: manifest verified, arch/2026.11.01',
  'bootseal-early: checksum verified',
  'bootseal-early: OpenPGP verified',
  'bootseal-early: CMS verified',
  'bootseal-early: root mounted',
  REAL_ROOT_LINE,
];
const INSIDE = 'releases/arch/2026.11.01';

/** Refused in early userspace, and which of its checks says so. */
const REFUSED = [
  { path: ROOTFS, by: 'bootseal-early: REFUSED checksum' },
  { path: CHECKSUM, by: 'bootseal-early: REFUSED checksum' },
  { path: `${ROOTFS}.sig`, by: /bootseal-early: REFUSED .*OpenPGP/ },
  { path: `${ROOTFS}.cms.sig`, by: /bootseal-early: REFUSED .*CMS/ },
];

/** In the first newc header: the initramfs begins with a plain archive. */
const LAST_DIGIT_OF_MTIME = 6 + 5 * 8 + 7;

describe('a stock iPXE', () => {
  let release: LabRelease;
  let loaders: string;
  let lan: Lan;
  let scripts: Map<string, string>;

  before(async () => {
    release = await labRelease();
    loaders = join(release.folder, 'loaders');
    await mkdir(loaders);
    await cp('/usr/lib/ipxe/undionly.kpxe', join(loaders, 'undionly.kpxe'));
    lan = await createLan();
  });
  after(async () => {
    await lan?.close();
    await release?.remove();
  });

  it('is refused, in plain words, where the configuration does not allow it', async () => {
    const server = await startProduct(lan, release, { httpPort: 8080, tftpPort: 69, loaders });
    const { log } = await throughUndionly(server);
    await server.stop();
    expectMilestones(log, ['UNVERIFIED LOADER', 'does not allow unverified loaders', 'REFUSED']);
    expectAbsent(log, ['Linux version', 'bootseal-early:']);
  });

  it('boots, labelled unverified, into a root that early userspace verified', async () => {
    const configuration = { allow_unverified_loaders: true };
    const server = await startProduct(lan, release, { httpPort: 8080, tftpPort: 69, loaders, configuration });
    scripts = await renderedScripts();
    const { log } = await throughUndionly(server);
    await server.stop();
    expectMilestones(log, [...LABELLED, ...EARLY]);
  });

  for (const { path, by } of REFUSED) {
    it(`early userspace refuses a flipped byte in ${path}`, async () => {
      const site = await copied(path.replaceAll('/', '-'));
      await flip(join(site, INSIDE, path));
      const { log } = await fromStatic(site);
      expectMilestones(log, [...LABELLED, by]);
      expectAbsent(log, ['bootseal-early: root mounted', REAL_ROOT_LINE]);
    });
  }

  it('does not catch a changed script, kernel or initrd, and nobody says it does', async (t: TestContext) => {
    const site = await copied('uncaught');
    // Harmless places, so that the machine lives to show it: words on the screen, code of the boot sector that
    // no loader runs any more, a file's time stamp.
    const script = (scripts.get('unverified.ipxe') ?? '').replace('UNVERIFIED LOADER', 'UNVERIFIED LOADES');
    await writeFile(join(site, 'unverified.ipxe'), script);
    await flip(join(site, INSIDE, KERNEL), 0x40);
    await flip(join(site, INSIDE, INITRD), LAST_DIGIT_OF_MTIME);
    const { log } = await fromStatic(site);
    expectMilestones(log, ['UNVERIFIED LOADES', 'bootseal-early: started', ...EARLY]);
    for (const row of ['script', 'kernel', 'initrd']) t.diagnostic(`${row}: not caught by this loader`);
  });

  /** NIC ROM → our TFTP → undionly.kpxe → autoexec.ipxe over HTTP. */
  async function throughUndionly(server: RunningServer): Promise<QemuEnd> {
    const rom = await lan.startDhcp({ bios: 'undionly.kpxe', ipxe: 'undionly.kpxe' });
    // QEMU's ROM is an iPXE too, and DHCP cannot tell the two apart: once the loader has left, the same
    // question gets the script for its answer.
    const sent = waitForOutput(
      server.child,
      'stdout',
      /tftp: .*(sent.*undionly|ended.*undionly.*"complete")/,
    );
    const machine = await bootQemu({ lan, firmware: 'bios' });
    await sent;
    await rom.stop();
    const loader = await lan.startDhcp({ bios: SCRIPT_URL, ipxe: SCRIPT_URL });
    const end = await machine.ended;
    await loader.stop();
    return end;
  }

  async function fromStatic(site: string): Promise<QemuEnd> {
    const dhcp = await lan.startDhcp({ bios: SCRIPT_URL, ipxe: SCRIPT_URL });
    const server = await startStatic(lan, site, 8080);
    try {
      return await (await bootQemu({ lan, firmware: 'bios' })).ended;
    } finally {
      await server.stop();
      await dhcp.stop();
    }
  }

  async function copied(name: string): Promise<string> {
    const site = join(release.folder, `site-${name}`);
    await mkdir(site, { recursive: true });
    await copySite(release, site);
    for (const [file, text] of scripts) await writeFile(join(site, file), text);
    return site;
  }

  async function renderedScripts(): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    for (const name of ['autoexec.ipxe', 'unverified.ipxe']) {
      const { stdout } = await lan.execute('curl', ['-sf', `http://${LAN_ADDRESS}:8080/${name}`]);
      found.set(name, stdout);
    }
    return found;
  }
});
