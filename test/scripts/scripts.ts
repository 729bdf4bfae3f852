import { execFileSync } from 'node:child_process';
import type { Manifest, ManifestFile, Role } from '../../src/formats/records/manifest.ts';

/** What the tests of `boot/` compile: a small Arch release, without bytes behind it. */
export function file(role: Role, path: string): ManifestFile {
  return { role, size: 1, sha256: '0'.repeat(64), sha512: '0'.repeat(128), path };
}

export const BOOT = 'arch/boot/x86_64';

export const MANIFEST: Manifest = {
  release: 'arch/2026.11.01',
  serial: 2026110100,
  issued: 0,
  bestBefore: 0,
  arch: 'x86_64',
  layout: 'archiso',
  cmdline: ['archisobasedir=arch', 'checksum=y', 'verify=y'],
  free: [
    { name: 'ip', type: 'dhcp' },
    { name: 'BOOTIF', type: 'mac' },
    { name: 'archiso_http_srv', type: 'url' },
    { name: 'archiso_nbd_srv', type: 'ipv4' },
  ],
  shell: false,
  files: [
    file('kernel', `${BOOT}/vmlinuz-linux`),
    file('overlay', `${BOOT}/bootseal-overlay.img`),
    file('initrd', `${BOOT}/amd-ucode.img`),
    file('initrd', `${BOOT}/initramfs-linux.img`),
    file('rootfs', 'arch/x86_64/airootfs.sfs'),
  ],
  verity: [],
  fsverity: [],
};

export const DIGEST = 'ab'.repeat(32);

/** The lines of a script that do something, without what stands before them. */
export function commandsOf(script: string): string[] {
  return script
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

/** grub-script-check is GRUB's own parser. */
export function grubParses(text: string): void {
  execFileSync('grub-script-check', { input: text, stdio: ['pipe', 'ignore', 'inherit'] });
}
