import type { LayoutKind } from './kind.ts';
import { archOf } from './tree-names.ts';

/**
 * Fedora CoreOS and RHEL CoreOS, live. The initramfs holds the digest of its root image and looks at it while it
 * arrives, whoever sends it; as one more initrd it needs no network at all. Ignition is checked by nobody.
 */
export const coreos: LayoutKind = {
  name: 'coreos',
  async recognise(names) {
    const kernel = names.one(/(^|\/)[^/]*-live-kernel[-.][a-z0-9_]+$/, 'kernel');
    const initrd = names.one(/(^|\/)[^/]*-live-initramfs\.[a-z0-9_]+\.img$/, 'initrd');
    const root = names.one(/(^|\/)[^/]*-live-rootfs\.[a-z0-9_]+\.img$/, 'root image');
    if (kernel === undefined || initrd === undefined) return undefined;
    const arch = archOf(/[-.]([a-z0-9_]+)$/.exec(kernel)?.[1] ?? '');
    return {
      ...(arch === undefined ? {} : { arch }),
      kernel,
      initrds: root === undefined ? [initrd] : [initrd, root],
      cmdline: ['ignition.firstboot', 'ignition.platform.id=metal'],
      free: [],
    };
  },
  marks: [/^(coreos|ignition)\./],
  fetches: [
    {
      key: 'coreos.live.rootfs_url',
      when: /./,
      what: 'the root image',
      root: true,
      checked: () => 'its initramfs holds the digest of its root image',
    },
    {
      key: 'ignition.platform.id',
      when: /^(?!metal$|qemu$)./,
      what: 'the Ignition configuration of that platform',
    },
    { key: 'ignition.config.url', when: /./, what: 'the Ignition configuration' },
    { key: 'coreos.inst.ignition_url', when: /./, what: 'the Ignition configuration' },
    {
      key: 'coreos.inst.image_url',
      when: /./,
      what: 'the image that is installed',
      checked: () => 'coreos-installer: OpenPGP, with the keys in its root image',
    },
  ],
  checksRoot: () => 'its initramfs holds the digest of its root image',
};
