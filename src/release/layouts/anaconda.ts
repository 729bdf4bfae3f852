import { dracutLive } from './dracut-live.ts';
import type { LayoutKind } from './kind.ts';

/** Anaconda, the installer of Fedora and RHEL. curl fetches its root image and the kickstart, and nothing is verified. */
export const anaconda: LayoutKind = {
  name: 'anaconda',
  async recognise(names) {
    const kernel = names.one(/(^|\/)images\/pxeboot\/vmlinuz$/, 'kernel');
    const initrd = names.one(/(^|\/)images\/pxeboot\/initrd\.img$/, 'initrd');
    if (kernel === undefined || initrd === undefined) return undefined;
    const rootfs = names.one(/(^|\/)images\/install\.img$/, 'root image');
    const root = rootfs === undefined ? {} : { rootfs };
    return { kernel, initrds: [initrd], ...root, cmdline: [], free: [] };
  },
  marks: [/^inst\./],
  includes: [dracutLive],
  fetches: [
    { key: 'inst.stage2', when: /^(?!hd:|cdrom)./, what: 'the installer’s root image', root: true },
    {
      key: 'inst.repo',
      when: /^(?!hd:|cdrom)./,
      what: 'the installer’s root image and packages',
      root: true,
      several: true,
    },
    { key: 'inst.addrepo', when: /./, what: 'packages', several: true },
    { key: 'inst.ks', when: /^(?!file:|hd:|cdrom)./, what: 'the kickstart' },
    { key: 'inst.ks.sendmac', when: /^/, what: 'the kickstart' },
    { key: 'inst.dd', when: /^(?!hd:|cdrom|path:)./, what: 'drivers', several: true },
  ],
  // With root= on the line Anaconda looks for no stage2.
  packed: { at: () => 'install.img', words: () => ['root=live:/install.img', 'rd.live.image'] },
};
