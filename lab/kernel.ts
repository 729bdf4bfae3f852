import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { cacheEntry } from './cache.ts';
import { run } from './command.ts';
import { unpackedPackage } from './package.ts';

/** Debian's kernel, taken out of its package. */
export interface LabKernel {
  readonly vmlinuz: string;
  /** Module files, in the order in which they must be loaded. */
  readonly modules: readonly string[];
  /** `6.1.0-56-amd64` */
  readonly version: string;
}

const META_PACKAGE = 'linux-image-amd64';
const MODULES = [
  'virtio_pci',
  'virtio_net',
  'virtio_rng',
  'e1000',
  'af_packet',
  'loop',
  'squashfs',
  'erofs',
  'overlay',
  'nbd',
  'dm_verity',
];

/** The kernel of the cache; made the first time, for which apt must reach a mirror. */
export async function labKernel(): Promise<LabKernel> {
  const entry = await cacheEntry('kernel', { from: META_PACKAGE, modules: MODULES, layout: 1 }, makeKernel);
  const version = (await readFile(join(entry, 'version'), 'utf8')).trim();
  const order = (await readFile(join(entry, 'modules.order'), 'utf8')).trim().split('\n');
  return {
    vmlinuz: join(entry, 'vmlinuz'),
    modules: order.map((name) => join(entry, 'modules', name)),
    version,
  };
}

/** Debian's kernel package, unpacked in `work/root` and indexed by depmod. */
export async function downloadKernel(work: string): Promise<{ root: string; version: string }> {
  const packageName = await kernelPackage();
  const root = await unpackedPackage(work, packageName);
  const version = packageName.replace('linux-image-', '');
  await run('depmod', ['-b', root, version]);
  return { root, version };
}

async function makeKernel(folder: string): Promise<void> {
  const work = join(folder, 'work');
  await mkdir(work);
  const { root, version } = await downloadKernel(work);
  await copyFile(join(root, 'boot', `vmlinuz-${version}`), join(folder, 'vmlinuz'));
  await mkdir(join(folder, 'modules'));
  const order: string[] = [];
  for (const path of await loadOrder(root, version)) {
    const name = basename(path);
    order.push(name);
    await copyFile(path, join(folder, 'modules', name));
  }
  await writeFile(join(folder, 'modules.order'), `${order.join('\n')}\n`);
  await writeFile(join(folder, 'version'), `${version}\n`);
  await rm(work, { recursive: true });
}

async function kernelPackage(): Promise<string> {
  const { stdout } = await run('apt-cache', ['depends', META_PACKAGE]);
  const name = /^\s*Depends: (linux-image-\S+)$/m.exec(stdout)?.[1];
  if (name === undefined) throw new Error(`apt knows no ${META_PACKAGE}: run apt-get update`);
  return name;
}

async function loadOrder(root: string, version: string): Promise<readonly string[]> {
  const paths = new Set<string>();
  for (const module of MODULES) {
    const { stdout } = await run('modprobe', ['-d', root, '-S', version, '--show-depends', module]);
    for (const line of stdout.split('\n')) {
      const path = /^insmod (\S+)/.exec(line)?.[1];
      if (path !== undefined) paths.add(path);
    }
  }
  return [...paths];
}
