import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { namesIfThere, readIfThere } from '../files/read-if-there.ts';
import { isSafePath } from '../formats/records/safe-path.ts';
import { type LayoutDraft, NETWORK_PARAMETERS } from './layout-draft.ts';

/** Arch's netboot tree (archiso's `netboot` build mode): `INSTALL_DIR/boot/ARCH/…`, `INSTALL_DIR/ARCH/airootfs.*`. */
export async function readArchLayout(tree: string, entries: readonly string[]): Promise<LayoutDraft> {
  const candidates: string[] = [];
  for (const entry of entries) {
    // lost+found at the top of a file system belongs to root alone, and is no part of a tree.
    const names = isSafePath(entry) && entry !== 'lost+found' ? await namesIfThere(join(tree, entry)) : [];
    if (names.includes('boot')) candidates.push(entry);
  }
  const [base, second] = candidates;
  if (base === undefined) {
    throw new UsageError(
      `${tree} is neither an Arch netboot tree (NAME/boot/ARCH/vmlinuz-…) nor has it a bootseal.toml; ` +
        'name its files with --kernel, --initrd and --rootfs.',
    );
  }
  if (second !== undefined)
    throw new UsageError(
      `${tree} holds two trees, ${base} and ${second}; name its files with --kernel, --initrd and --rootfs.`,
    );
  const boot = await namesIfThere(join(tree, base, 'boot'));
  const kernels: { arch: string; name: string }[] = [];
  for (const arch of boot) {
    for (const name of await namesIfThere(join(tree, base, 'boot', arch))) {
      if (/^vmlinuz-[^.]*$/.test(name)) kernels.push({ arch, name });
    }
  }
  const [kernel, otherKernel] = kernels;
  if (!kernel) throw new UsageError(`${tree} holds no kernel (${base}/boot/ARCH/vmlinuz-…).`);
  if (otherKernel) {
    throw new UsageError(
      `${tree} holds two kernels, ${kernel.name} and ${otherKernel.name}; ` +
        'name its files with --kernel, --initrd and --rootfs.',
    );
  }
  const { arch } = kernel;
  const images = (await namesIfThere(join(tree, base, 'boot', arch))).filter((name) =>
    /^initramfs-.*\.img$/.test(name),
  );
  // Microcode goes first: the kernel looks for it in the uncompressed archive at the front.
  const microcode = boot.filter((name) => /^(amd|intel)-ucode\.img$/.test(name)).sort();
  const roots = (await namesIfThere(join(tree, base, arch))).filter((name) =>
    /^airootfs\.(sfs|erofs)$/.test(name),
  );
  const [root, otherRoot] = roots;
  if (!root) throw new UsageError(`${tree} holds no root image (${base}/${arch}/airootfs.sfs or .erofs).`);
  if (otherRoot)
    throw new UsageError(`${tree} holds two root images, ${root} and ${otherRoot}; take one of them out.`);
  if (images.length === 0) {
    throw new UsageError(`${tree} holds no initramfs (${base}/boot/${arch}/initramfs-….img).`);
  }
  const version = ((await readIfThere(join(tree, base, 'version')))?.toString('utf8') ?? '').trim();
  return {
    family: 'arch',
    ...(version ? { release: `${base}/${version}` } : {}),
    arch,
    kernel: `${base}/boot/${arch}/${kernel.name}`,
    initrds: [
      ...microcode.map((name) => `${base}/boot/${name}`),
      ...images.sort().map((name) => `${base}/boot/${arch}/${name}`),
    ],
    rootfs: `${base}/${arch}/${root}`,
    cmdline: [`archisobasedir=${base}`, 'checksum=y', 'verify=y', 'cms_verify=y'],
    free: NETWORK_PARAMETERS,
  };
}
