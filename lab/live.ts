import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheEntry, repositoryRoot } from './cache.ts';
import { addFiles, dracut, initramfsTools, labInitramfs, WITHOUT_SYSTEMD } from './families.ts';
import { runWith, unpackedPackages } from './packages.ts';

/** Initramfs of live systems, as their administrators make them out of Debian's packages. */

const MODULES = ['loop', 'squashfs', 'overlay'];

/** live-boot, which mkinitramfs puts into every initramfs where it is installed. */
export async function liveBootInitramfs(): Promise<Buffer> {
  const packages = await unpackedPackages(['live-boot', 'live-boot-initramfs-tools']);
  return readFile(await initramfsTools(MODULES, [packages]));
}

/** dracut's dmsquash-live, without a module for the network. */
export async function dracutLiveInitramfs(): Promise<Buffer> {
  const packages = await unpackedPackages(['dracut-live']);
  const modules = ['--add', 'dmsquash-live', '--force-drivers', MODULES.join(' ')];
  return readFile(await dracut([...WITHOUT_SYSTEMD, ...modules], [packages]));
}

/** initramfs-tools with a stand-in for casper: see lab/initramfs/casper. */
export async function casperInitramfs(): Promise<Buffer> {
  const from = join(repositoryRoot(), 'lab', 'initramfs', 'casper');
  const files: Record<string, string> = {};
  for (const name of ['scripts/casper', 'conf/conf.d/default-boot-to-casper.conf']) {
    files[name] = await readFile(join(from, name), 'utf8');
  }
  return addFiles(await labInitramfs('initramfs-tools'), files);
}

/** What LTSP's own init says by the site's ltsp.conf, when it has done its work and starts the root's. */
export const LTSP_LINE = 'BOOTSEAL-E2E: ltsp init is process 1';

/** /etc/ltsp of a site. The root of the lab has neither Python, which merges accounts, nor a busybox. */
const LTSP_SITE = {
  'ltsp.conf': `[clients]
OMIT_FUNCTIONS=pam_main
POST_INIT_LAB='echo "BOOTSEAL-E2E: ltsp init is process $$"'
`,
  'client/initrd-bottom/60-lab.sh': `lab_main() {
	cp -a /bin/busybox "$rootmnt/bin/busybox"
}
`,
  // It would take the host's.
  ssh_known_hosts: '',
};

/** LTSP's code, configuration and accounts for its clients, as `ltsp initrd` puts them together. */
export async function ltspImage(): Promise<Buffer> {
  const packages = await unpackedPackages(['ltsp']);
  const entry = await cacheEntry('ltsp', { packages, site: LTSP_SITE, layout: 2 }, async (folder) => {
    for (const [name, text] of Object.entries(LTSP_SITE)) {
      const path = join(folder, 'etc', 'ltsp', name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, text);
    }
    // It would look for the host's network, which need not have one.
    const network = 'DEVICE=eth0 IP_ADDRESS=10.77.0.1 MAC_ADDRESS=52:54:00:77:00:00';
    const etc = 'mount -t overlay -o "lowerdir=$1/etc:/etc" overlay /etc';
    await runWith([packages], `${etc}\n${network} exec /usr/sbin/ltsp -t "$1" initrd`, [folder]);
  });
  return readFile(join(entry, 'ltsp', 'ltsp.img'));
}
