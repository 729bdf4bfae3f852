import { cp, link, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cpioEntries, encodeCpio } from '../src/formats/archive/cpio.ts';
import { cacheEntry, repositoryRoot } from './cache.ts';
import { run } from './command.ts';
import { labModules } from './modules.ts';
import { runWith } from './packages.ts';

/**
 * Initramfs of each family that an overlay hands over to: Debian's own where Debian has the tool, made as its
 * administrators make them, and for mkinitcpio a stand-in. None knows anything of Bootseal.
 */
export const FAMILIES = ['initramfs-tools', 'dracut', 'dracut with systemd', 'mkinitcpio'] as const;
export type Family = (typeof FAMILIES)[number];

export async function labInitramfs(family: Family): Promise<Buffer> {
  switch (family) {
    case 'initramfs-tools':
      return readFile(await initramfsTools());
    case 'dracut':
      return readFile(await dracut(WITHOUT_SYSTEMD));
    case 'dracut with systemd':
      return readFile(await dracut([]));
    case 'mkinitcpio':
      return standIn();
  }
}

/** Files that a site adds to an initramfs, as one more archive behind it. */
export function addFiles(initramfs: Uint8Array, files: Readonly<Record<string, string>>): Buffer {
  const archive = encodeCpio(
    cpioEntries(
      Object.entries(files).map(([name, text]) => ({
        kind: 'file' as const,
        name,
        mode: 0o755,
        data: Buffer.from(text),
      })),
      0,
    ),
  );
  return Buffer.concat([initramfs, Buffer.alloc(-initramfs.length & 3), archive]);
}

async function versionOf(packageName: string): Promise<string> {
  const { stdout } = await run('dpkg-query', ['-W', packageName]);
  return stdout.split('\t')[1]?.trim() ?? '';
}

async function moduleFolder(): Promise<{ folder: string; version: string }> {
  const base = join(await labModules(), 'lib', 'modules');
  const version = (await run('ls', [base])).stdout.trim();
  return { folder: join(base, version), version };
}

/** For dracut's own init. */
export const WITHOUT_SYSTEMD = ['--omit', 'systemd systemd-initrd dracut-systemd'];

/** @param over folders whose files lie over those of /usr. */
export async function dracut(options: readonly string[], over: readonly string[] = []): Promise<string> {
  const { folder: modules, version } = await moduleFolder();
  const recipe = { dracut: await versionOf('dracut-core'), modules, options, over, layout: 2 };
  const entry = await cacheEntry('dracut', recipe, async (folder) => {
    const fixed = ['--force', '--quiet', '--no-hostonly', '--no-hostonly-cmdline', '--no-early-microcode'];
    const source = ['--kver', version, '--kmoddir', modules, '--tmpdir', folder];
    const words = [...fixed, ...source, ...options, '--gzip', join(folder, 'initramfs.img')];
    await runWith(over, 'exec dracut "$@"', words);
  });
  return join(entry, 'initramfs.img');
}

/**
 * As mkinitramfs makes it, which wants to see the kernel's configuration in /boot.
 *
 * @param modules that it shall load, with those that they need; none where an overlay brings its own.
 * @param over folders whose files lie over those of /usr.
 */
export async function initramfsTools(
  modules: readonly string[] = [],
  over: readonly string[] = [],
): Promise<string> {
  const { version } = await moduleFolder();
  const recipe = { tools: await versionOf('initramfs-tools-core'), version, modules, over, layout: 2 };
  const entry = await cacheEntry('initramfs-tools', recipe, async (folder) => {
    const conf = join(folder, 'conf');
    await cp('/etc/initramfs-tools', conf, { recursive: true });
    const lines = ['MODULES=list', 'BUSYBOX=auto', 'COMPRESS=gzip', 'KEYMAP=n', 'RUNSIZE=10%'];
    await writeFile(join(conf, 'initramfs.conf'), `${lines.join('\n')}\n`);
    await writeFile(join(conf, 'modules'), modules.map((name) => `${name}\n`).join(''));
    await mkdir(join(folder, 'boot'));
    await writeFile(join(folder, 'boot', `config-${version}`), 'CONFIG_RD_GZIP=y\n');
    const script = 'mount --bind "$1/boot" /boot\nexec mkinitramfs -d "$1/conf" -o "$1/initramfs.img" "$2"';
    await runWith([...over, ...(modules.length > 0 ? [await labModules()] : [])], script, [folder, version]);
  });
  return join(entry, 'initramfs.img');
}

/** busybox, and what an administrator finds in an initramfs of mkinitcpio's: see lab/initramfs/mkinitcpio. */
async function standIn(): Promise<Buffer> {
  const from = join(repositoryRoot(), 'lab', 'initramfs', 'mkinitcpio');
  const folder = (await run('mktemp', ['-d'])).stdout.trim();
  try {
    const tree = join(folder, 'tree');
    await cp(from, tree, { recursive: true });
    for (const name of ['dev', 'new_root', 'proc', 'run', 'sys', 'usr/bin', 'usr/lib']) {
      await mkdir(join(tree, name), { recursive: true });
    }
    await symlink('usr/bin', join(tree, 'bin'));
    await cp('/bin/busybox', join(tree, 'usr/bin/busybox'));
    for (const name of ['cat', 'env', 'mount', 'sh', 'stat', 'switch_root', 'umount', 'ls', 'mkdir']) {
      // One file of many names, as some tools pack it.
      await link(join(tree, 'usr/bin/busybox'), join(tree, 'usr/bin', name));
    }
    const archive = join(folder, 'archive');
    const script = 'cd "$1" && find . -mindepth 1 | LC_ALL=C sort | cpio -o -H newc --quiet >"$2"';
    await run('sh', ['-c', script, 'sh', tree, archive]);
    return await readFile(archive);
  } finally {
    await rm(folder, { recursive: true });
  }
}
