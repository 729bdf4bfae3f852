import { cp, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, relative } from 'node:path';
import { collectModules } from '../src/build/overlay-modules.ts';
import { cpioEntries, encodeCpio } from '../src/formats/archive/cpio.ts';
import { cacheEntry } from './cache.ts';
import { run } from './command.ts';
import { downloadKernel } from './kernel.ts';

/** What an overlay or an initramfs of the lab may want; a whole kernel would fill the cache. */
const WANTED = [
  ...[
    'virtio_pci',
    'virtio_net',
    'virtio_rng',
    'virtio_blk',
    'e1000',
    'af_packet',
    'loop',
    'squashfs',
    'erofs',
  ],
  ...[
    'overlay',
    'nbd',
    'dm_mod',
    'dm_verity',
    'dm_multipath',
    'dm_round_robin',
    'sha256_generic',
    'sha256_ssse3',
    'crc32c_generic',
    'ext4',
    'isofs',
    'efivarfs',
    '8021q',
  ],
];

/** A root with `lib/modules/VERSION` of the lab's kernel, as `bootseal overlay --modules` reads it. */
export async function labModules(): Promise<string> {
  const entry = await cacheEntry('modules', { wanted: WANTED, layout: 2 }, async (folder) => {
    const work = join(folder, 'work');
    await mkdir(work);
    const { root, version } = await downloadKernel(work);
    const from = join(root, 'lib', 'modules', version);
    const to = join(folder, 'root', 'lib', 'modules', version);
    await mkdir(to, { recursive: true });
    for (const name of WANTED) {
      const { stdout } = await run('modprobe', ['-d', root, '-S', version, '--show-depends', name]);
      for (const [, path = ''] of stdout.matchAll(/^insmod (\S+)/gm)) {
        const target = join(to, relative(from, path));
        await mkdir(dirname(target), { recursive: true });
        await cp(path, target);
      }
    }
    for (const name of ['modules.builtin', 'modules.builtin.modinfo', 'modules.order']) {
      await cp(join(from, name), join(to, name));
    }
    await run('depmod', ['-b', join(folder, 'root'), version]);
    await readFile(join(to, 'modules.dep'));
    await rm(work, { recursive: true });
  });
  return join(entry, 'root');
}

/** A folder as `labModules` is, as a kernel's would be that was built without some. Whoever asks removes it. */
export async function modulesWithout(names: readonly string[]): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'bootseal-modules-'));
  await cp(await labModules(), folder, { recursive: true });
  const [version = ''] = await readdir(join(folder, 'lib', 'modules'));
  const found = await run('find', [join(folder, 'lib', 'modules', version), '-name', '*.ko*']);
  for (const path of found.stdout.trim().split('\n')) {
    const name = basename(path)
      .replace(/\.ko.*$/, '')
      .replaceAll('-', '_');
    if (names.includes(name)) await rm(path);
  }
  await run('depmod', ['-b', folder, version]);
  return folder;
}

/** An archive that leaves of an overlay's modules for the lab's kernel what the kernel of `root` has to load. */
export async function emptyModules(root: string): Promise<Uint8Array> {
  const { version, entries } = await collectModules(root, undefined, {
    decompress: async (_, bytes) => bytes,
  });
  const order = entries.filter(({ name }) => name === `bootseal/modules/${version}/order`);
  return encodeCpio(cpioEntries(order, 0));
}
