import type { LayoutKind } from './kind.ts';

/**
 * Ubuntu's live systems and its installer (casper, subiquity). The ISO and the configuration come over the network, and
 * nothing is verified.
 */
export const casper: LayoutKind = {
  name: 'casper',
  async recognise(names) {
    const kernel = names.one(/(^|\/)casper\/(hwe-)?vmlinuz[^/]*$/, 'kernel');
    const initrd = names.one(/(^|\/)casper\/(hwe-)?initrd[^/]*$/, 'initrd');
    if (kernel === undefined || initrd === undefined) return undefined;
    const rootfs =
      names.one(/\.iso$/, 'root image') ?? names.one(/(^|\/)casper\/[^/]+\.squashfs$/, 'root image');
    const root = rootfs === undefined ? {} : { rootfs };
    return { kernel, initrds: [initrd], ...root, cmdline: ['boot=casper'], free: [] };
  },
  marks: [/^boot=casper$/, /^(iso-url|cloud-config-url)=/, /^autoinstall$/, /^layerfs-path=/],
  fetches: [
    { key: 'url', when: /./, what: 'the ISO image', root: true },
    { key: 'iso-url', when: /./, what: 'the ISO image', root: true },
    { key: 'nfsroot', when: /./, what: 'the root image', root: true },
    // Without nfsroot= it comes from where DHCP says.
    { key: 'netboot', when: /./, what: 'the root image', root: true },
    { key: 'live-media', when: /^(\/dev\/|removable)/, what: 'the root image', root: true },
    { key: 'iso-scan/filename', when: /./, what: 'the root image, from disks of its own', root: true },
    { key: 'todisk', when: /./, what: 'its copy of the root on a disk of its own' },
    { key: 'cloud-config-url', when: /./, what: 'the configuration (cloud-init)' },
    { key: 'ds', what: 'the configuration (cloud-init)' },
    { key: 'persistent', when: /^/, what: 'volumes of its own disks, over the root' },
  ],
  searches: { what: 'a live medium, on disks of its own', unless: /^live-media=\/(?!dev\/)/ },
};
