import assert from 'node:assert/strict';
import { it } from 'node:test';
import { checksumPath } from '../../../src/formats/records/seal-names.ts';

const CHECKSUMS = {
  'arch/x86_64/airootfs.sfs': 'arch/x86_64/airootfs.sha512',
  'arch/x86_64/airootfs.erofs': 'arch/x86_64/airootfs.sha512',
  'root.squash.img': 'root.squash.sha512',
  root: 'root.sha512',
  'v1.2/root': 'v1.2/root.sha512',
};

for (const [image, checksums] of Object.entries(CHECKSUMS)) {
  it(`the checksum of ${image} stands in ${checksums}`, () => assert.equal(checksumPath(image), checksums));
}
