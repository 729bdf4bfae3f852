import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { run } from './command.ts';

/** Something the tests run or read, and the Debian package that brings it. */
export interface Prerequisite {
  readonly packageName: string;
  /** Commands on PATH, or absolute paths. */
  readonly needs: readonly string[];
}

const PREREQUISITES: readonly Prerequisite[] = [
  { packageName: 'qemu-system-x86', needs: ['qemu-system-x86_64'] },
  {
    packageName: 'ovmf',
    needs: ['/usr/share/OVMF/OVMF_CODE_4M.secboot.fd', '/usr/share/OVMF/OVMF_VARS_4M.fd'],
  },
  { packageName: 'qemu-system-arm', needs: ['qemu-system-aarch64'] },
  {
    packageName: 'qemu-efi-aarch64',
    needs: ['/usr/share/AAVMF/AAVMF_CODE.fd', '/usr/share/AAVMF/AAVMF_VARS.fd'],
  },
  { packageName: 'seabios', needs: ['/usr/share/seabios/bios-256k.bin'] },
  {
    packageName: 'ipxe-qemu',
    needs: ['/usr/lib/ipxe/qemu/pxe-virtio.rom', '/usr/lib/ipxe/qemu/efi-virtio.rom'],
  },
  { packageName: 'ipxe', needs: ['/usr/lib/ipxe/undionly.kpxe', '/usr/lib/ipxe/snponly.efi'] },
  { packageName: 'grub-common', needs: ['grub-mkimage'] },
  { packageName: 'grub-pc-bin', needs: ['/usr/lib/grub/i386-pc/pxe.mod'] },
  { packageName: 'grub-efi-amd64-bin', needs: ['/usr/lib/grub/x86_64-efi/efinet.mod'] },
  { packageName: 'dracut-core', needs: ['dracut'] },
  { packageName: 'initramfs-tools-core', needs: ['mkinitramfs'] },
  { packageName: 'dnsmasq-base', needs: ['dnsmasq'] },
  { packageName: 'isc-dhcp-server', needs: ['dhcpd'] },
  { packageName: 'kea-dhcp4-server', needs: ['kea-dhcp4'] },
  { packageName: 'iproute2', needs: ['ip'] },
  { packageName: 'nftables', needs: ['nft'] },
  { packageName: 'tcpdump', needs: ['tcpdump'] },
  { packageName: 'libnbd-bin', needs: ['nbdinfo', 'nbdcopy'] },
  { packageName: 'nbd-client', needs: ['nbd-client'] },
  { packageName: 'nbdkit', needs: ['nbdkit'] },
  { packageName: 'qemu-utils', needs: ['qemu-img', 'qemu-io'] },
  { packageName: 'nginx', needs: ['nginx'] },
  { packageName: 'rsync', needs: ['rsync'] },
  { packageName: 'tftp-hpa', needs: ['tftp'] },
  { packageName: 'wakeonlan', needs: ['wakeonlan'] },
  { packageName: 'ceph-mon', needs: ['ceph-mon'] },
  { packageName: 'ceph-base', needs: ['monmaptool'] },
  { packageName: 'ceph-osd', needs: ['ceph-osd'] },
  { packageName: 'ceph-common', needs: ['ceph'] },
  { packageName: 'radosgw', needs: ['radosgw', 'radosgw-admin'] },
  { packageName: 'chromium', needs: ['/usr/bin/chromium'] },
  { packageName: 'curl', needs: ['curl'] },
  { packageName: 'nginx-light', needs: ['nginx'] },
  { packageName: 'prometheus', needs: ['promtool'] },
  { packageName: 'openssl', needs: ['openssl'] },
  { packageName: 'gnupg', needs: ['gpg'] },
  { packageName: 'gpg-agent', needs: ['gpg-agent', '/usr/lib/gnupg/gpg-preset-passphrase'] },
  { packageName: 'gpgconf', needs: ['gpgconf', 'gpg-connect-agent'] },
  { packageName: 'gpgsm', needs: ['gpgsm'] },
  { packageName: 'gpgv', needs: ['gpgv'] },
  { packageName: 'busybox-static', needs: ['busybox'] },
  { packageName: 'rdate', needs: ['rdate'] },
  { packageName: 'mmdebstrap', needs: ['mmdebstrap'] },
  { packageName: 'squashfs-tools', needs: ['mksquashfs'] },
  { packageName: 'cpio', needs: ['cpio'] },
  { packageName: 'kmod', needs: ['depmod', 'modprobe'] },
  { packageName: 'bzip2', needs: ['bzip2'] },
  { packageName: 'libarchive-tools', needs: ['bsdtar', 'bsdcpio'] },
  { packageName: 'lz4', needs: ['lz4'] },
  { packageName: 'lzop', needs: ['lzop'] },
  { packageName: 'shellcheck', needs: ['shellcheck'] },
  { packageName: 'zsh', needs: ['zsh'] },
  { packageName: 'fish', needs: ['fish'] },
  { packageName: 'man-db', needs: ['man', 'lexgrog'] },
  { packageName: 'mandoc', needs: ['mandoc'] },
  { packageName: 'debhelper', needs: ['dh'] },
  { packageName: 'dpkg-dev', needs: ['dpkg-buildpackage'] },
  { packageName: 'lintian', needs: ['lintian'] },
  { packageName: 'zstd', needs: ['zstd'] },
  { packageName: 'xz-utils', needs: ['xz'] },
  { packageName: 'faketime', needs: ['faketime'] },
  { packageName: 'cryptsetup-bin', needs: ['veritysetup'] },
  { packageName: 'fsverity', needs: ['fsverity'] },
  { packageName: 'libengine-pkcs11-openssl', needs: ['/usr/lib/x86_64-linux-gnu/engines-3/pkcs11.so'] },
  { packageName: 'opensc', needs: ['pkcs11-tool'] },
  { packageName: 'softhsm2', needs: ['softhsm2-util', '/usr/lib/softhsm/libsofthsm2.so'] },
  { packageName: 'strace', needs: ['strace'] },
  { packageName: 'perl-base', needs: ['perl'] },
  { packageName: 'binutils', needs: ['objdump'] },
  { packageName: 'e2fsprogs', needs: ['/usr/bin/chattr'] },
  { packageName: 'efitools', needs: ['cert-to-efi-sig-list', 'sign-efi-sig-list', 'sig-list-to-certs'] },
  { packageName: 'osslsigncode', needs: ['osslsigncode'] },
  { packageName: 'sbsigntool', needs: ['sbsign', 'sbverify'] },
  { packageName: 'libtss2-esys-3.0.2-0', needs: ['/usr/lib/x86_64-linux-gnu/libtss2-esys.so.0'] },
  { packageName: 'libtss2-rc0', needs: ['/usr/lib/x86_64-linux-gnu/libtss2-rc.so.0'] },
  { packageName: 'libtss2-tcti-swtpm0', needs: ['/usr/lib/x86_64-linux-gnu/libtss2-tcti-swtpm.so.0'] },
  { packageName: 'swtpm', needs: ['swtpm'] },
  {
    packageName: 'systemd',
    needs: [
      '/usr/lib/systemd/systemd-measure',
      'systemd-analyze',
      'systemd-socket-activate',
      'systemd-sysusers',
      'systemd-tmpfiles',
    ],
  },
  { packageName: 'systemd-container', needs: ['/usr/lib/systemd/systemd-pull'] },
  { packageName: 'nginx-light', needs: ['nginx'] },
  { packageName: 'rsync', needs: ['rsync'] },
  { packageName: 'util-linux', needs: ['unshare'] },
  { packageName: 'systemd-boot-efi', needs: ['/usr/lib/systemd/boot/efi/linuxx64.efi.stub'] },
];

/**
 * Names of the Debian packages whose commands or files are not there.
 *
 * @param more what is needed beside what the tests need.
 */
export function missingPrerequisites(more: readonly Prerequisite[] = []): readonly string[] {
  const missing = [...PREREQUISITES, ...more].filter(({ needs }) => !needs.every(isThere));
  return [...new Set(missing.map(({ packageName }) => packageName))];
}

/** Installs what is missing, as root; else throws an Error that names it. */
export async function installPrerequisites(more: readonly Prerequisite[] = []): Promise<void> {
  const missing = missingPrerequisites(more);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new Error(
      `These Debian packages are missing: ${missing.join(' ')}. Install them with apt-get as root.`,
    );
  }
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', ['update'], { env });
  await run('apt-get', ['install', '-y', '--no-install-recommends', ...missing], { env });
  const still = missingPrerequisites(more);
  if (still.length > 0) throw new Error(`apt-get installed, yet this is still missing: ${still.join(' ')}.`);
}

function isThere(need: string): boolean {
  if (need.startsWith('/')) return existsSync(need);
  // Tools for root lie outside the PATH of other users, who may still run some of them.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => folder !== '' && existsSync(join(folder, need)));
}
