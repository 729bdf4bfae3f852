import { NETWORK_ADDRESS } from './addresses.ts';
import type { LayoutKind } from './kind.ts';

/**
 * A live system of dracut's (dmsquash-live): Fedora, RHEL, openSUSE. curl fetches the root image, and nothing is
 * verified; `rd.live.check` is for ISO media.
 */
export const dracutLive: LayoutKind = {
  name: 'dracut-live',
  async recognise(names) {
    if (names.all(/(^|\/)images\/install\.img$/).length > 0) return undefined;
    const rootfs = names.one(/(^|\/)(LiveOS\/)?(squashfs|rootfs)\.img$/, 'root image');
    if (rootfs === undefined) return undefined;
    const kernel = names.one(/(^|\/)vmlinuz[^/]*$/, 'kernel');
    const initrd = names.one(/(^|\/)(initrd|initramfs)[^/]*$/, 'initrd');
    if (kernel === undefined || initrd === undefined) return undefined;
    return { kernel, initrds: [initrd], rootfs, cmdline: ['rd.live.image'], free: [] };
  },
  marks: [/^rd\.live\./, /^root=live:/, /^live\.updates\b/],
  fetches: [
    { key: 'root', when: NETWORK_ADDRESS, what: 'the root image', root: true },
    { key: 'root', when: /^live:.*:\/\/|^live:nfs/, what: 'the root image', root: true },
    {
      key: 'root',
      when: /^(\/dev\/nfs|dhcp6?|netroot)$/,
      what: 'the root image, where DHCP says',
      root: true,
    },
    {
      key: 'root',
      when: /^(live:)?(\/dev\/(?!nfs$)|(CD)?LABEL=|UUID=|PARTLABEL=|PARTUUID=)/,
      what: 'the root image, from disks of its own',
      root: true,
    },
    { key: 'iso-scan/filename', when: /./, what: 'the root image, from disks of its own', root: true },
    { key: 'netroot', when: /./, what: 'the root image', root: true },
    { key: 'nfsroot', when: /./, what: 'the root image', root: true },
    { key: 'live.updates', when: /./, what: 'files that replace those of the root' },
    ...['rd.live.overlay', 'overlay'].map((key) => ({
      key,
      when: /^(?!(none|None|NONE)$)./,
      what: 'a volume of its own disks, over the root',
    })),
  ],
  // dracut tells an image from a URL by the ending of its name.
  packed: {
    at: () => 'bootseal-root.img',
    words: (at) => [`root=live:/${at}`, 'rd.live.image', 'rd.live.overlay.overlayfs=1'],
  },
};
