import type { LayoutKind } from './kind.ts';

/**
 * Alpine's diskless netboot. Packages are checked against a signed index with the keys in its initramfs, and so is the
 * modloop where that holds its key; an apkovl, which is root's /etc, by nobody.
 */
export const alpine: LayoutKind = {
  name: 'alpine',
  async recognise(names) {
    const modloop = names.one(/(^|\/)modloop-[a-z0-9]+$/, 'modloop');
    if (modloop === undefined) return undefined;
    const flavour = modloop.slice(modloop.lastIndexOf('-') + 1);
    const kernel = names.one(new RegExp(`(^|/)vmlinuz-${flavour}$`), 'kernel');
    const initrd = names.one(new RegExp(`(^|/)initramfs-${flavour}$`), 'initramfs');
    if (kernel === undefined || initrd === undefined) return undefined;
    return {
      kernel,
      initrds: [initrd],
      files: [modloop],
      cmdline: ['modules=loop,squashfs'],
      free: [{ name: 'ip', type: 'dhcp' }],
    };
  },
  marks: [/^(alpine_repo|apkovl|modloop)=/],
  fetches: [
    {
      key: 'alpine_repo',
      when: /./,
      what: 'packages',
      checked: () => 'apk: a signed index, with the keys in the initramfs',
    },
    {
      key: 'modloop',
      when: /./,
      what: 'kernel modules',
      checked: () => 'its init: a signature inside the initramfs’s keys, where modloop_verify is on',
    },
    { key: 'apkovl', when: /:\/\//, what: 'the configuration (apkovl)' },
  ],
};
