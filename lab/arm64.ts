import { chmod, copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { cpioEntries, encodeCpio } from '../src/formats/archive/cpio.ts';
import { init, overlay, seal } from '../src/index.ts';
import { cacheEntry } from './cache.ts';
import { run } from './command.ts';
import { foreignApt, foreignRoot } from './foreign.ts';
import type { LabRelease } from './release.ts';

/** What arm64 machines of the lab boot, out of Debian's packages for them; nothing of it runs on this machine. */

const DEBIAN = { architecture: 'arm64', suite: 'bookworm' } as const;

/** A root whose `usr/lib/grub/arm64-efi` holds GRUB's modules. */
export function arm64Grub(): Promise<string> {
  return foreignRoot({ ...DEBIAN, packages: ['grub-efi-arm64-bin'] });
}

/** systemd's stub. Debian 12's is of a kind that no image can be made of. */
export async function arm64Stub(suite: 'bookworm' | 'trixie'): Promise<string> {
  const root = await foreignRoot({ ...DEBIAN, suite, packages: ['systemd-boot-efi'] });
  return join(root, 'usr/lib/systemd/boot/efi/linuxaa64.efi.stub');
}

/** A root with the programs of an overlay and their libraries. */
export function arm64Tools(): Promise<string> {
  const packages = ['busybox-static', 'openssl', 'nbd-client', 'dmsetup'];
  return foreignRoot({ ...DEBIAN, packages, closure: true });
}

const MODULES = [
  ...['virtio_pci', 'virtio_net', 'virtio_rng', 'af_packet', 'loop', 'squashfs', 'overlay', 'nbd'],
  ...['dm_mod', 'dm_verity', 'dm_multipath', 'dm_round_robin', 'sha256_generic', 'crc32c_generic'],
];

export interface Arm64Kernel {
  readonly vmlinuz: string;
  /** With `lib/modules/VERSION`. */
  readonly root: string;
  /** `6.1.0-50-arm64` */
  readonly version: string;
}

/** Debian's kernel, and of its modules those that the lab wants: a whole one would fill the cache. */
export async function arm64Kernel(): Promise<Arm64Kernel> {
  const entry = await cacheEntry(
    'kernel-arm64',
    { ...DEBIAN, modules: MODULES, layout: 1 },
    async (folder) => {
      const work = join(folder, 'work');
      const apt = await foreignApt(join(work, 'apt'), DEBIAN);
      const name = await apt.dependency('linux-image-arm64', /^linux-image-[0-9]/);
      const version = name.replace('linux-image-', '');
      const whole = join(work, 'root');
      await apt.unpack([name], whole);
      await run('depmod', ['-b', whole, version]);
      const from = join(whole, 'lib/modules', version);
      const to = join(folder, 'root/lib/modules', version);
      for (const module of MODULES) {
        const { stdout } = await run('modprobe', ['-d', whole, '-S', version, '--show-depends', module]);
        for (const [, path = ''] of stdout.matchAll(/^insmod (\S+)/gm)) {
          const target = join(to, relative(from, path));
          await mkdir(dirname(target), { recursive: true });
          await copyFile(path, target);
        }
      }
      for (const index of ['modules.builtin', 'modules.builtin.modinfo', 'modules.order']) {
        await cp(join(from, index), join(to, index));
      }
      await run('depmod', ['-b', join(folder, 'root'), version]);
      await copyFile(join(whole, 'boot', `vmlinuz-${version}`), join(folder, 'vmlinuz'));
      await writeFile(join(folder, 'version'), `${version}\n`);
      await rm(work, { recursive: true });
    },
  );
  const version = (await readFile(join(entry, 'version'), 'utf8')).trim();
  return { vmlinuz: join(entry, 'vmlinuz'), root: join(entry, 'root'), version };
}

/** What the root says on the console before it switches the machine off. */
export const ARM64_ROOT_LINE = 'BOOTSEAL-E2E: root of arm64 reached';

const ROOT_INIT = `#!/bin/busybox sh
/bin/busybox echo "${ARM64_ROOT_LINE}, $(/bin/busybox uname -m)" >/dev/console
/bin/busybox poweroff -f
`;

/** Paths in the tree. */
export const ARM64 = {
  release: 'pi/2026.11.01',
  kernel: 'boot/Image',
  initrd: 'boot/initrd.img',
  overlay: 'bootseal-overlay.img',
  rootfs: 'rootfs.sfs',
} as const;

const TOML = `release = "${ARM64.release}"
arch = "aarch64"
kernel = "${ARM64.kernel}"
initrd = ["${ARM64.initrd}"]
rootfs = "${ARM64.rootfs}"
cmdline = "console=ttyAMA0 panic=-1"
free = ["ip dhcp"]
`;

/**
 * A sealed release for arm64: Debian's kernel, an initrd that knows nothing, an overlay whose root comes over NBD under
 * dm-verity, and a root that holds a busybox.
 *
 * @param url what its scripts and its image name.
 */
export async function arm64Release(url: string): Promise<LabRelease> {
  const folder = await mkdtemp(join(tmpdir(), 'bootseal-e2e-arm64-'));
  const now = Date.now();
  const [keys, tree] = [join(folder, 'keys'), join(folder, 'tree')];
  await init(keys, { site: 'lab', kind: 'rsa', now, secureBoot: true });
  const [kernel, tools] = [await arm64Kernel(), await arm64Tools()];
  await mkdir(join(tree, 'boot'), { recursive: true });
  await writeFile(join(tree, 'bootseal.toml'), TOML);
  await copyFile(kernel.vmlinuz, join(tree, ARM64.kernel));
  const note = { kind: 'file', name: 'note', data: Buffer.from('an initramfs without an init\n') } as const;
  await writeFile(join(tree, ARM64.initrd), encodeCpio(cpioEntries([note], 0)));
  await makeRoot(join(folder, 'root'), join(tools, 'bin/busybox'), join(tree, ARM64.rootfs));
  await overlay({
    anchors: join(keys, 'anchors'),
    out: join(tree, ARM64.overlay),
    tools,
    arch: 'aarch64',
    modules: kernel.root,
    now,
    floor: { name: 'pi', minSerial: 2026010100, mode: 'verity' },
  });
  const { manifest } = await seal({ tree, keys, url, now });
  return {
    folder,
    keys,
    tree,
    release: manifest.release,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

async function makeRoot(root: string, busybox: string, image: string): Promise<void> {
  for (const name of ['bin', 'sbin', 'dev', 'proc', 'sys', 'run', 'tmp']) {
    await mkdir(join(root, name), { recursive: true });
  }
  await copyFile(busybox, join(root, 'bin/busybox'));
  await symlink('busybox', join(root, 'bin/sh'));
  await writeFile(join(root, 'sbin/init'), ROOT_INIT);
  await chmod(join(root, 'sbin/init'), 0o755);
  await run('mksquashfs', [root, image, '-quiet', '-no-progress', '-all-root', '-all-time', '0']);
}
