import type { LayoutKind } from './kind.ts';

/** systemd's own download of a root (257 and later, systemd-import-generator). Signatures are checked unless told not to. */
export const systemd: LayoutKind = {
  name: 'systemd',
  marks: [/^rd\.systemd\.pull=/],
  fetches: [
    {
      key: 'rd.systemd.pull',
      when: /./,
      what: 'an image',
      root: true,
      several: true,
      checked: (value) =>
        /(^|,)verify=(no|checksum)(,|:)/.test(value)
          ? undefined
          : 'systemd-pull: SHA256SUMS.gpg, with the keyring in its initramfs (import-pubring)',
    },
  ],
};
