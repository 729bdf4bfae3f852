import { dracutLive } from './dracut-live.ts';
import type { FetchWord, LayoutKind } from './kind.ts';

function named(name: string, word: Omit<FetchWord, 'key'>): readonly FetchWord[] {
  return [`inst.${name}`, name].map((key) => ({ key, ...word }));
}

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
  // As dracut/parse-anaconda-*.sh of anaconda read them; each also without `inst.`, as older releases had it.
  fetches: [
    ...named('stage2', { when: /./, what: 'the installer’s root image', root: true }),
    ...named('repo', {
      when: /./,
      what: 'the installer’s root image and packages',
      root: true,
      several: true,
    }),
    { key: 'method', when: /./, what: 'the installer’s root image and packages', root: true },
    { key: 'inst.addrepo', when: /./, what: 'packages', several: true },
    // Bare it is nfs:auto, which is where DHCP says.
    ...named('ks', { when: /^(?!file:)/, what: 'the kickstart' }),
    // Bare it asks, and finds them on disks of its own.
    ...named('dd', { when: /^(?!path:)/, what: 'drivers', several: true }),
    ...named('updates', { when: /./, what: 'files that replace those of the root' }),
  ],
  searches: {
    what: 'the installer’s root image, on disks of its own or where the kickstart says',
    unless: /^root=./,
  },
  // With root= on the line Anaconda looks for no stage2.
  packed: { at: () => 'install.img', words: () => ['root=live:/install.img', 'rd.live.image'] },
};
