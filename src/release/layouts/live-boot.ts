import type { FetchWord, LayoutKind } from './kind.ts';

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
    const rootfs = names.one(/(^|\/)live\/[^/]+\.(squashfs|erofs|ext[234])$/, 'root image');
    const root = rootfs === undefined ? {} : { rootfs };
    return { kernel, initrds: [initrd], ...root, cmdline: ['boot=live'], free: [] };
  },
  marks: [/^boot=live$/, /^live-(media|config)\b/],
  fetches: [
    { key: 'fetch', ...ROOT },
    { key: 'httpfs', ...ROOT },
    { key: 'ftpfs', ...ROOT },
    { key: 'nfsroot', ...ROOT },
    { key: 'iscsi', ...ROOT },
    { key: 'plainroot', when: /./, what: 'a root of its own disks' },
    { key: 'persistence', when: /^/, what: 'volumes of its own disks, over the root' },
    { key: 'live-config.hooks', what: 'scripts' },
    { key: 'hooks', what: 'scripts' },
  ],
  packed: {
    at: (name) => `bootseal-medium/live/${name}`,
    words: () => ['boot=live', 'live-media=/bootseal-medium'],
  },
};
