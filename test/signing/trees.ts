import { INITRD, KERNEL, ROOTFS, writeTree } from '../fixtures/release.ts';

export const MICROCODE = 'arch/boot/amd-ucode.img';
export const ARTIFACTS = [KERNEL, MICROCODE, INITRD, ROOTFS];

const ROOT_OCTETS = 20_000;
/** One byte more than is hashed in this thread: such a root image goes through the hashing threads. */
export const MANY_OCTETS = 4 * 1024 * 1024 + 1;

/** A small Arch tree with one file of every kind; `word` makes its content another release's. */
export function smallTree(
  tree: string,
  word = 'one',
  version = '2026.11.01',
  rootOctets = ROOT_OCTETS,
): Promise<string> {
  return writeTree(tree, {
    'arch/version': `${version}\n`,
    [KERNEL]: `kernel ${word}\0`,
    [MICROCODE]: `microcode ${word}\0`,
    [INITRD]: `initramfs ${word}\0`,
    [ROOTFS]: Buffer.alloc(rootOctets, `hsqs root image ${word}\n`),
  });
}
