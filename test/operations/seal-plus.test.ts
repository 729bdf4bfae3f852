import assert from 'node:assert/strict';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { boot } from '../../src/operations/boot.ts';
import { serve } from '../../src/server/serve.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { INITRD, KERNEL, sampleTree, sealFixture } from '../fixtures/release.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));

it('a release and files named as Debian names them are sealed, served and booted whole', async (t) => {
  const tree = await sampleTree(join(folder, 'tree'), keys);
  const version = '6.12.43+deb13-amd64';
  await writeFile(join(tree, 'arch/version'), '');
  await rename(join(tree, KERNEL), join(tree, `arch/boot/x86_64/vmlinuz-${version}`));
  await rename(join(tree, INITRD), join(tree, `arch/boot/x86_64/initramfs-${version}.img`));
  await sealFixture(tree, keys, { release: 'debian/6.12.43+deb13', serial: 7 });
  const server = await serve({
    ...{ tree, anchors: keys, clock: () => NOW, log: { info: () => {}, warn: () => {}, error: () => {} } },
    ...{ httpPort: 0, tftpPort: 0, nbdPort: 0 },
  });
  t.after(() => server.close(0));
  for (const platform of ['pcbios', 'efi'] as const) {
    const verdict = await boot({
      ...{ url: `${server.url}/boot.ipxe`, anchors: keys, now: NOW, platform },
      anyKernel: true,
    });
    assert.deepEqual([verdict.refusal, verdict.verified, verdict.bound], [undefined, true, true]);
  }
});
