import { NETWORK_ADDRESS } from './addresses.ts';
import type { LayoutKind } from './kind.ts';
import { archOf, folderOf } from './tree-names.ts';

/**
 * debian-installer, as its netboot images hold it: a kernel, an initrd, and never a root image. It checks what it
 * installs with keys of its initrd. What tells it how to install (a preseed) it checks with nothing: MD5 at best.
 */
export const debianInstaller: LayoutKind = {
  name: 'debian-installer',
  async recognise(names) {
    const initrd = names.one(/(^|\/)initrd\.gz$/, 'initrd');
    if (initrd === undefined) return undefined;
    const folder = folderOf(initrd);
    const kernel = names.one(new RegExp(`^${literally(folder)}(linux|vmlinuz)$`), 'kernel');
    if (kernel === undefined) return undefined;
    const arch = archOf(folder.split('/').at(-2) ?? '');
    return { ...(arch === undefined ? {} : { arch }), kernel, initrds: [initrd], cmdline: [], free: [] };
  },
  marks: [/^(preseed|debian-installer|auto-install|netcfg|anna|network-console|rescue)\//],
  fetches: [
    { key: 'url', when: /./, what: 'the preseed' },
    { key: 'preseed/url', when: /./, what: 'the preseed' },
    { key: 'preseed/include', when: NETWORK_ADDRESS, what: 'another preseed' },
    { key: 'preseed/run', when: NETWORK_ADDRESS, what: 'a script' },
  ],
  always: [
    {
      what: 'installer components and packages',
      how: 'debian-installer: gpgv on the mirror’s Release, with the keys in its initrd',
    },
  ],
};

function literally(text: string): string {
  return text.replace(/[.+]/g, '\\$&');
}
