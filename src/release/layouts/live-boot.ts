import type { FetchWord, LayoutKind } from './kind.ts';

/** Words of live-config, which runs in the root: each goes with its prefix, too. Any other value is wget's. */
function ofLiveConfig(name: string, what: string): readonly FetchWord[] {
  return [name, `live-config.${name}`].map((key) => ({
    key,
    when: /^(?!(filesystem|medium)$|file:\/\/)./,
    what,
  }));
}

/** No folder of the initramfs: a device, or the kind of it. */
const DISKS = /^(\/dev\/|removable)/;
const ROOT: Pick<FetchWord, 'when' | 'what' | 'root'> = { when: /./, what: 'the root image', root: true };

/**
 * Debian live (live-boot). It fetches with wget or mounts NFS, and verifies nothing; `verify-checksums` holds a medium
 * against its own unsigned list. A folder of the initramfs serves it as the medium (`live-media=/DIR`).
 */
export const liveBoot: LayoutKind = {
  name: 'live-boot',
  async recognise(names) {
    const kernel = names.one(/(^|\/)live\/vmlinuz[^/]*$/, 'kernel');
    const initrd = names.one(/(^|\/)live\/initrd[^/]*$/, 'initrd');
    if (kernel === undefined || initrd === undefined) return undefined;
    const rootfs = names.one(/(^|\/)live\/[^/]+\.(squashfs|ext[234])$/, 'root image');
    const root = rootfs === undefined ? {} : { rootfs };
    return { kernel, initrds: [initrd], ...root, cmdline: ['boot=live'], free: [] };
  },
  marks: [/^boot=live$/, /^live-(media|config)\b/],
  fetches: [
    { key: 'fetch', ...ROOT },
    { key: 'httpfs', ...ROOT },
    { key: 'ftpfs', ...ROOT },
    { key: 'nfsroot', ...ROOT },
    // Without nfsroot= it comes from where DHCP says.
    { key: 'netboot', ...ROOT },
    { key: 'root', ...ROOT, when: /^\/dev\/(nfs|cifs)$/ },
    { key: 'iscsi', ...ROOT },
    { key: 'nfsoverlay', when: /./, what: 'a volume over the root' },
    // On disks of its own. A medium there is also what it looks for where nothing else names one.
    { key: 'live-media', ...ROOT, when: DISKS },
    { key: 'bootfrom', ...ROOT, when: DISKS },
    { key: 'fromiso', ...ROOT },
    { key: 'isofrom', ...ROOT },
    { key: 'findiso', ...ROOT },
    { key: 'plainroot', ...ROOT, when: /^/, what: 'a root of its own disks' },
    { key: 'todisk', when: /./, what: 'its copy of the root on a disk of its own' },
    { key: 'persistence', when: /^/, what: 'volumes of its own disks, over the root' },
    ...ofLiveConfig('hooks', 'scripts'),
    ...ofLiveConfig('debconf-preseed', 'a preseed'),
  ],
  searches: { what: 'a live medium, on disks of its own', unless: /^(live-media|bootfrom)=\/(?!dev\/)/ },
  packed: {
    at: (name) => `bootseal-medium/live/${name}`,
    words: () => ['boot=live', 'live-media=/bootseal-medium'],
  },
};
