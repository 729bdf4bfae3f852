import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { it } from 'node:test';
import { decodeChecksums } from '../../../src/formats/records/checksums.ts';
import type { Manifest } from '../../../src/formats/records/manifest.ts';
import { isSealName, isSums } from '../../../src/formats/records/seal-names.ts';
import { sumsOf, sumsPaths } from '../../../src/formats/records/sums.ts';

const digest = (text: string) => createHash('sha256').update(text).digest('hex');
const ROOT = 'ab'.repeat(32);
const file = (role: Manifest['files'][number]['role'], path: string) => ({
  ...{ role, path, size: path.length, sha256: digest(path) },
  sha512: createHash('sha512').update(path).digest('hex'),
});
const manifest: Manifest = {
  ...{ release: 'lab/1', serial: 1, issued: 0, bestBefore: 1000, arch: 'x86_64', layout: 'plain' },
  ...{ cmdline: [], free: [], shell: false },
  files: [
    file('kernel', 'vmlinuz'),
    file('initrd', 'boot/initrd.img'),
    file('rootfs', 'images/x86_64/root.squashfs'),
    file('hashtree', 'images/x86_64/root.squashfs.verity'),
  ],
  verity: [{ rootHash: ROOT, salt: '-', dataBlocks: 1, path: 'images/x86_64/root.squashfs' }],
  fsverity: [],
};
const lists = new Map(
  sumsOf(manifest, digest('manifest')).map(({ path, bytes }) => [path, decodeChecksums(bytes, 32)]),
);
const namesOf = (path: string) => lists.get(path)?.map(({ name }) => name);

it('there is one at the top, and one in each folder that holds payload itself', () => {
  const paths = ['SHA256SUMS', 'boot/SHA256SUMS', 'images/x86_64/SHA256SUMS'];
  assert.deepEqual([...lists.keys()], paths);
  assert.deepEqual(sumsPaths(manifest), paths);
});

it('the one at the top names the manifest and all payload, with the root hash beside its image', () => {
  assert.deepEqual(lists.get('SHA256SUMS'), [
    { name: 'release.manifest', digest: digest('manifest') },
    ...['vmlinuz', 'boot/initrd.img', 'images/x86_64/root.squashfs'].map((name) => ({
      name,
      digest: digest(name),
    })),
    { name: 'images/x86_64/root.squashfs.roothash', digest: digest(ROOT) },
    { name: 'images/x86_64/root.squashfs.verity', digest: digest('images/x86_64/root.squashfs.verity') },
  ]);
});

it('the others name what lies in their own folder, and never with a slash', () => {
  assert.deepEqual(namesOf('boot/SHA256SUMS'), ['initrd.img']);
  assert.deepEqual(namesOf('images/x86_64/SHA256SUMS'), [
    ...['root.squashfs', 'root.squashfs.roothash', 'root.squashfs.verity'],
  ]);
});

it('none names itself, its signature or any other seal', () => {
  for (const list of lists.values())
    for (const { name } of list) assert.ok(!isSums(name) && !isSealName(name), name);
});

it('its signature is told from other files that end in .gpg', () => {
  for (const name of ['SHA256SUMS.gpg', 'a/b/SHA256SUMS.gpg', 'vmlinuz.sig', 'F.roothash.cms.sig'])
    assert.ok(isSealName(name), name);
  for (const name of ['certificates/openpgp.gpg', 'OLDSHA256SUMS.gpg', 'SHA256SUMS', 'SHA256SUMS/x.gpg'])
    assert.ok(!isSealName(name), name);
});
