import { cp, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheEntry } from './cache.ts';
import { unpackedPackage } from './package.ts';

/** What people netboot, out of Debian's packages: the files as their publisher lays them out. */

const INSTALLER = 'debian-installer-12-netboot-amd64';
const INSTALLER_TREE = 'usr/lib/debian-installer/images/12/amd64/text';
const MEMTEST = 'memtest86+';

/** The tree of Debian 12's `netboot.tar.gz`: `debian-installer/amd64/linux`, `initrd.gz`, loaders and links. */
export function debianInstaller(): Promise<string> {
  return packageFolder('debian-installer', INSTALLER, INSTALLER_TREE);
}

/** A folder of memtest86+'s files: `memtest86+x64.bin`, `memtest86+x64.efi` and those of 32 bits. */
export function memtest(): Promise<string> {
  return packageFolder('memtest', MEMTEST, 'boot');
}

async function packageFolder(name: string, packageName: string, inside: string): Promise<string> {
  const entry = await cacheEntry(name, { from: packageName, inside, layout: 1 }, async (folder) => {
    const work = join(folder, 'work');
    await mkdir(work);
    const root = await unpackedPackage(work, packageName);
    await cp(join(root, inside), join(folder, 'tree'), { recursive: true, verbatimSymlinks: true });
    await rm(work, { recursive: true });
  });
  return join(entry, 'tree');
}
