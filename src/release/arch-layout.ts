import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { isSafePath } from '../formats/records/safe-path.ts';
import { type LayoutDraft, NETWORK_PARAMETERS } from './layout-draft.ts';

/** Arch's netboot tree (archiso's `netboot` build mode): `INSTALL_DIR/boot/ARCH/…`, `INSTALL_DIR/ARCH/airootfs.*`. */
export async function readArchLayout(tree: string, entries: readonly string[]): Promise<LayoutDraft> {
  const candidates: string[] = [];
  for (const entry of entries) {
    // What cannot be read (lost+found) is no candidate; from here on it is a reason.
    const names = isSafePath(entry) ? await list(join(tree, entry)).catch(() => []) : [];
    if (names.includes('boot')) candidates.push(entry);
  }
  const [base, second] = candidates;
  if (base === undefined) {
    throw new Refusal(
      'absent',
      `${tree} is neither an Arch netboot tree (NAME/boot/ARCH/vmlinuz-…) nor has it a bootseal.toml; ` +
        'name its files with --kernel, --initrd and --rootfs.',
      { path: tree },
    );
  }
  if (second !== undefined)
    throw new Refusal('malformed', `${tree} holds two trees, ${base} and ${second}.`, { path: tree });
  const boot = await list(join(tree, base, 'boot'));
  const kernels: { arch: string; name: string }[] = [];
  for (const arch of boot) {
    for (const name of await list(join(tree, base, 'boot', arch))) {
      if (/^vmlinuz-[^.]*$/.test(name)) kernels.push({ arch, name });
    }
  }
  const [kernel, otherKernel] = kernels;
  if (!kernel)
    throw new Refusal('absent', `${tree} holds no kernel (${base}/boot/ARCH/vmlinuz-…).`, { path: tree });
  if (otherKernel) {
    throw new Refusal(
      'malformed',
      `${tree} holds two kernels, ${kernel.name} and ${otherKernel.name}; ` +
        'name its files with --kernel, --initrd and --rootfs.',
      {
        path: tree,
      },
    );
  }
  const { arch } = kernel;
  const images = (await list(join(tree, base, 'boot', arch))).filter((name) =>
    /^initramfs-.*\.img$/.test(name),
  );
  // Microcode goes first: the kernel looks for it in the uncompressed archive at the front.
  const microcode = boot.filter((name) => /^(amd|intel)-ucode\.img$/.test(name)).sort();
  const roots = (await list(join(tree, base, arch))).filter((name) => /^airootfs\.(sfs|erofs)$/.test(name));
  const [root, otherRoot] = roots;
  if (!root)
    throw new Refusal('absent', `${tree} holds no root image (${base}/${arch}/airootfs.sfs or .erofs).`, {
      path: tree,
    });
  if (otherRoot)
    throw new Refusal('malformed', `${tree} holds two root images, ${root} and ${otherRoot}.`, {
      path: tree,
    });
  if (images.length === 0) {
    throw new Refusal('absent', `${tree} holds no initramfs (${base}/boot/${arch}/initramfs-….img).`, {
      path: tree,
    });
  }
  const version = (await readFile(join(tree, base, 'version'), 'utf8').catch(() => '')).trim();
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

/** Nothing where there is no folder; one that cannot be read is not an empty one. */
async function list(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return [];
    throw unreadable(directory, error);
  }
}
