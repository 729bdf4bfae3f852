import { NETWORK_ADDRESS } from './addresses.ts';
import type { LayoutKind } from './kind.ts';
import { archOf, folderOf } from './tree-names.ts';

/**
 * debian-installer, as its netboot images hold it: a kernel, an initrd, and never a root image. It checks what it
 * installs with keys of its initrd. What tells it how to install (a preseed) it checks with nothing: MD5 at best.
 *
 * It asks for one more preseed than anybody names: network-preseed runs, at any priority and whether or not a preseed
 * came in the initrd or on the line, as soon as the boot file name of the DHCP lease holds `://`
 * (`dhcp_preseed_url` in preseed's preseed.sh), and does what that file says as root. Only a machine that asks no DHCP
 * server has no lease; a preseed in the initrd can also take that function away, which no command line shows.
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
  marks: [
    /^([^:.=]*:)?(preseed|debian-installer|auto-install|netcfg|anna|network-console|rescue)\//,
    /^BOOT_DEBUG=/,
  ],
  fetches: [
    { key: 'url', when: /./, what: 'the preseed' },
    { key: 'preseed/url', when: /./, what: 'the preseed' },
    { key: 'preseed/include', when: NETWORK_ADDRESS, what: 'another preseed' },
    { key: 'preseed/run', when: NETWORK_ADDRESS, what: 'a script' },
  ],
  keyOf: withoutOwner,
  always: [
    {
      what: 'a preseed that DHCP names',
      by: 'nobody',
      how: 'debian-installer runs what the boot file name of its DHCP lease leads to; with netcfg/disable_autoconfig=true it asks for none',
      unless: asksNoDhcp,
    },
    {
      what: 'installer components and packages',
      by: 'system',
      how: 'debian-installer: gpgv on the mirror’s Release, with the keys in its initrd',
    },
  ],
};

/**
 * Of a question, `OWNER:` may stand before it (env2debconf in env-preseed); aliases like `url` have no owner. A key with
 * a dot the kernel keeps for itself.
 */
function withoutOwner(key: string): string {
  return key.includes('/') ? key.replace(/^[^:.]*:/, '') : key;
}

/** By these netcfg starts no DHCP client (netcfg.c, `main`), and a preseed that came before them does not undo them. */
const NO_DHCP = [
  ['netcfg/disable_autoconfig', 'true'],
  ['netcfg/disable_dhcp', 'true'],
  ['netcfg/enable', 'false'],
] as const;

function asksNoDhcp(words: readonly string[]): boolean {
  // What stands behind `--` the kernel hands to init as arguments, and not in its environment, where it is read.
  const end = words.indexOf('--');
  const read = (end < 0 ? words : words.slice(0, end)).map((word) => word.split(/=(.*)/s));
  return NO_DHCP.some(([question, wanted]) => {
    const values = read.filter(([key = '']) => withoutOwner(key) === question).map(([, value]) => value);
    return values.length > 0 && values.every((value) => value === wanted);
  });
}

function literally(text: string): string {
  return text.replace(/[.+]/g, '\\$&');
}
