import { lastValue } from '../../formats/script/cmdline.ts';
import type { LayoutKind } from './kind.ts';
import { archOf, folderOf } from './tree-names.ts';

/**
 * LTSP: its code, configuration and accounts are one more initrd (`ltsp.img`), the root comes by NFS, and nothing is
 * verified. Under an overlay that hands over, its own init is started on the verified root.
 */
export const ltsp: LayoutKind = {
  name: 'ltsp',
  async recognise(names) {
    const code = names.one(/(^|\/)ltsp\.img$/, 'LTSP initrd');
    if (code === undefined) return undefined;
    const kernel = names.one(/(^|\/)vmlinuz[^/]*$/, 'kernel');
    if (kernel === undefined) return undefined;
    const initrd = names.one(/(^|\/)initrd[^/]*$/, 'initrd');
    if (initrd === undefined) return undefined;
    const rootfs = names.one(/(^|\/)images\/[^/]+\.(img|squashfs)$/, 'root image');
    const arch = archOf(folderOf(kernel).split('/').at(-2) ?? '');
    return {
      ...(arch === undefined ? {} : { arch }),
      kernel,
      // LTSP's boot menu loads its code first, too.
      initrds: [code, initrd],
      ...(rootfs === undefined ? {} : { rootfs }),
      cmdline: [],
      free: [],
    };
  },
  marks: [/^ltsp\./i],
  fetches: [
    { key: 'nfsroot', when: /./, what: 'the root image', root: true },
    { key: 'root', when: /^\/dev\/nfs$/, what: 'the root image', root: true },
  ],
  haltsOverlay(words) {
    const image = lastValue(words, 'ltsp.image');
    if (image !== undefined) {
      return `The command line says ltsp.image=${image}, and LTSP would look inside the verified root for another root image; leave that word out.`;
    }
    return lastValue(words, 'ltsp.overlay') === '0'
      ? undefined
      : 'Under an overlay LTSP must not mount an overlayfs of its own over the verified root; add ltsp.overlay=0 to the command line.';
  },
};
