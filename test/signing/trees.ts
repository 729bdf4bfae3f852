import { INITRD, KERNEL, ROOTFS, writeTree } from '../fixtures/release.ts';

export const MICROCODE = 'arch/boot/amd-ucode.img';
export const ARTIFACTS = [KERNEL, MICROCODE, INITRD, ROOTFS];

/** One octet more than is hashed in this thread: the root image goes through the hashing threads. */
const ROOT_OCTETS = 4 * 1024 * 1024 + 1;

/** A small Arch tree with one file of every kind; `word` makes its content another release's. */
export function smallTree(tree: string, word = 'one', version = '2026.11.01'): Promise<string> {
  return writeTree(tree, {
    'arch/version': `${version}\n`,
    [KERNEL]: `kernel ${word}`,
    [MICROCODE]: `microcode ${word}`,
    [INITRD]: `initramfs ${word}`,
    [ROOTFS]: Buffer.alloc(ROOT_OCTETS, `hsqs root image ${word}\n`),
  });
}
