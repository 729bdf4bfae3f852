import { codeOf } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { namesBeneath, readBeneathIfThere } from '../../files/beneath.ts';
import { isReservedPath } from '../../formats/records/manifest.ts';
import { isSafePath } from '../../formats/records/safe-path.ts';
import { lastValue } from '../../formats/script/cmdline.ts';
import { type LayoutDraft, NETWORK_PARAMETERS } from './draft.ts';
import type { LayoutKind } from './kind.ts';

/** Bytes of `version`; a release id has fewer. */
const LONGEST_VERSION = 4096;

/**
 * archiso. Its hooks check the root image as the command line asks, with the keys in its initramfs: SHA-512 by a list
 * from the same server (`checksum=y`), OpenPGP (`verify=y`), CMS (`cms_verify=y`).
 */
export const archiso: LayoutKind = {
  name: 'archiso',
  marks: [/^archisobasedir=/],
  fetches: [
    { key: 'archiso_nfs_srv', when: /./, what: 'the root image', root: true },
    { key: 'archiso_nbd_srv', when: /./, what: 'the root image', root: true },
    { key: 'script', when: /./, what: 'a script' },
    { key: 'cow_label', when: /./, what: 'a volume of its own disks, over the root' },
    { key: 'cow_device', when: /./, what: 'a volume of its own disks, over the root' },
  ],
  checksRoot(words) {
    const asked = [
      ...(lastValue(words, 'verify') === 'y' ? ['OpenPGP'] : []),
      ...(lastValue(words, 'cms_verify') === 'y' ? ['CMS'] : []),
    ];
    return asked.length === 0 ? undefined : `archiso: ${asked.join(' and ')}, with the keys in its initramfs`;
  },
};

/** Arch's netboot tree (archiso's `netboot` build mode): `INSTALL_DIR/boot/ARCH/…`, `INSTALL_DIR/ARCH/airootfs.*`. */
export async function readArchLayout(tree: string, entries: readonly string[]): Promise<LayoutDraft> {
  const list = (folder: string) => namesBeneath(tree, folder);
  const candidates: string[] = [];
  let unread: unknown;
  for (const entry of entries.filter(isSafePath)) {
    try {
      if ((await list(entry)).includes('boot')) candidates.push(entry);
    } catch (error) {
      // A link is no candidate, and neither is what is not ours to read (lost+found), where another is one.
      if (!(error instanceof Refusal) && codeOf(error) !== 'EACCES') throw error;
      unread ??= error;
    }
  }
  const [base, second] = candidates;
  if (base === undefined && unread !== undefined) throw unread;
  if (base === undefined) {
    throw new UsageError(
      `${tree} has neither a bootseal.toml nor the files of a system that is known here (docs/trees.md); ` +
        'name its files with --kernel, --initrd and --rootfs.',
    );
  }
  if (second !== undefined)
    throw new UsageError(
      `${tree} holds two trees, ${base} and ${second}; name its files with --kernel, --initrd and --rootfs.`,
    );
  const boot = await list(`${base}/boot`);
  const kernels: { arch: string; name: string }[] = [];
  for (const arch of boot) {
    for (const name of await list(`${base}/boot/${arch}`)) {
      // A version has dots in its name, and so have the seals beside it.
      if (/^vmlinuz-.+$/.test(name) && !isReservedPath(name)) kernels.push({ arch, name });
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
  const images = (await list(`${base}/boot/${arch}`)).filter((name) => /^initramfs-.*\.img$/.test(name));
  // Microcode goes first: the kernel looks for it in the uncompressed archive at the front.
  const microcode = boot.filter((name) => /^(amd|intel)-ucode\.img$/.test(name)).sort();
  const roots = (await list(`${base}/${arch}`)).filter((name) => /^airootfs\.(sfs|erofs)$/.test(name));
  const [root, otherRoot] = roots;
  if (!root) throw new UsageError(`${tree} holds no root image (${base}/${arch}/airootfs.sfs or .erofs).`);
  if (otherRoot)
    throw new UsageError(`${tree} holds two root images, ${root} and ${otherRoot}; take one of them out.`);
  if (images.length === 0) {
    throw new UsageError(`${tree} holds no initramfs (${base}/boot/${arch}/initramfs-….img).`);
  }
  const said = await readBeneathIfThere(tree, `${base}/version`, LONGEST_VERSION);
  const version = Buffer.from(said ?? [])
    .toString()
    .trim();
  return {
    layout: archiso.name,
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
