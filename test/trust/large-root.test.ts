import assert from 'node:assert/strict';
import { appendFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { readAnchorFolder } from '../../src/trust/anchor-folder.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { judgeFolder } from '../fixtures/judge.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { ROOTFS, sealFixture } from '../fixtures/release.ts';
import { MANY_OCTETS, smallTree } from '../signing/trees.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await smallTree(join(folder, 'tree'), 'one', '2026.11.01', MANY_OCTETS);
await sealFixture(tree, keys);
const anchors = await readAnchorFolder(keys);

async function rootImage() {
  const { rows } = await judgeFolder(tree, anchors);
  return rows.find(({ path }) => path === ROOTFS);
}

it('a root image that is hashed in threads of its own is verified in every column, or refused in every one', async () => {
  const good = await rootImage();
  assert.equal(good?.verified?.size, MANY_OCTETS);
  await appendFile(join(tree, ROOTFS), 'x');
  const bad = await rootImage();
  assert.deepEqual(
    Object.entries(bad?.cells ?? {}).map(([column, finding]) => [
      column,
      finding.verified || finding.refusal.code,
    ]),
    ['ipxe', 'cms', 'openpgp', 'manifest', 'checksum', 'verity'].map((column) => [column, 'bad-signature']),
  );
});
