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
  marks: [/^(alpine_repo|apkovl|modloop|modloop_verify)=/],
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
      // By its name: the initramfs holds a signature of the modloop of its own flavour alone.
      checked: (value, files) =>
        files.some(({ path }) => /(^|\/)modloop-[a-z0-9]+$/.test(path) && value.endsWith(`/${path}`))
          ? 'its init: a signature by a key in the initramfs, where modloop_verify is on'
          : undefined,
    },
    { key: 'apkovl', when: /:\/\//, what: 'the configuration (apkovl)' },
  ],
};
