import assert from 'node:assert/strict';
import { test } from 'node:test';
import { contentType } from '../../src/release/content-type.ts';

const TEXT = 'text/plain; charset=utf-8';
const OCTETS = 'application/octet-stream';

for (const [name, type] of [
  ['boot.ipxe', TEXT],
  ['boot.ipxe.sig', OCTETS],
  ['grub.cfg', TEXT],
  ['release.manifest', TEXT],
  ['release.manifest.cms.sig', OCTETS],
  ['airootfs.sfs', OCTETS],
  ['airootfs.erofs', OCTETS],
  ['airootfs.sha512', TEXT],
  ['airootfs.sfs.roothash.cms.sig', OCTETS],
  ['initramfs-linux.img', OCTETS],
  ['vmlinuz-linux', OCTETS],
  ['vmlinuz-6.1.0-18-amd64.html', OCTETS],
  ['undionly.kpxe', OCTETS],
  ['ipxe.efi', OCTETS],
  ['version', TEXT],
  ['pkglist.x86_64.txt', TEXT],
  ['snapshot.json', 'application/json'],
  ['constructor', OCTETS],
  ['a/b/boot.ipxe', TEXT],
] as const) {
  test(`${name}: ${type}`, () => assert.equal(contentType(name), type));
}
