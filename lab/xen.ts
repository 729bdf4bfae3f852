import { copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheEntry } from './cache.ts';
import { unpackedPackage } from './package.ts';

const PACKAGE = 'xen-hypervisor-4.17-amd64';
const NAME = 'xen-4.17-amd64.gz';

/** Debian's Xen, taken out of its package; made the first time, for which apt must reach a mirror. */
export async function labXen(): Promise<string> {
  const entry = await cacheEntry('xen', { from: PACKAGE, layout: 1 }, async (folder) => {
    const work = join(folder, 'work');
    await mkdir(work);
    const boot = join(await unpackedPackage(work, PACKAGE), 'boot');
    if (!(await readdir(boot)).includes(NAME)) throw new Error(`${PACKAGE} brings no ${NAME}`);
    await copyFile(join(boot, NAME), join(folder, NAME));
    await rm(work, { recursive: true });
  });
  return join(entry, NAME);
}
