import { Refusal } from '../errors/refusal.ts';
import { linuxOf, type Manifest } from '../formats/records/manifest.ts';

/** What a multiboot kernel and its Linux can be given. The one that there is, Xen, sets the limits. */

/**
 * Xen keeps its own command line, and that of its Linux, in 1024 bytes with the NUL each, and cuts longer ones without a
 * word (`xen/include/public/xen.h`, MAX_GUEST_CMDLINE; `xen/common/kernel.c`, saved_cmdline).
 */
export const MAX_MULTIBOOT_LINE = 1023;

/** Xen hands what stands behind it on its own line to the Linux (`xen/arch/x86/setup.c`, kextra). */
export const MULTIBOOT_MARK = '--';

/**
 * Refuses what a multiboot kernel would make less of than was signed.
 *
 * @param longest bytes of the longest command line that the Linux can get.
 * @throws Refusal `unsafe-script`
 */
export function demandMultiboot(manifest: Manifest, longest: number): void {
  const { release, cmdline, files } = manifest;
  const { path } = linuxOf(manifest);
  const refuse = (why: string) => new Refusal('unsafe-script', `${release}: ${why}`, { release, path });
  const [first, second] = files.filter(({ role }) => role === 'initrd' || role === 'overlay');
  if (first && second) {
    throw refuse(
      `a hypervisor hands ${path} one initrd and drops the others, and this release has ${first.path} and ${second.path}; join them into one file.`,
    );
  }
  if (cmdline.includes(MULTIBOOT_MARK)) {
    throw refuse(
      `the word ${MULTIBOOT_MARK} on the hypervisor's command line would add to that of ${path}; give ${path} its words as module-cmdline.`,
    );
  }
  if (Math.max(longest, cmdline.join(' ').length) <= MAX_MULTIBOOT_LINE) return;
  throw refuse(
    `a command line can exceed ${MAX_MULTIBOOT_LINE} bytes; a hypervisor would cut it, and that of its Linux.`,
  );
}
