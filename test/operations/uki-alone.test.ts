import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { addPeSections } from '../../src/formats/efi/pe-write.ts';
import { bootImage } from '../../src/operations/boot.ts';
import { uki } from '../../src/operations/uki.ts';
import { serve } from '../../src/server/serve.ts';
import { demandUkiOf } from '../../src/trust/uki-check.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture, writeTree } from '../fixtures/release.ts';
import { makeUki, smallKernel } from '../fixtures/uki.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'), { secureBoot: true });
const anchors = join(keys, 'anchors');
const log = { info: () => {}, warn: () => {}, error: () => {} };

it('a kernel alone is an image without initrds, which verifies, and boots wherever it stands', async (t) => {
  const tree = await writeTree(join(folder, 'tree'), {
    'bootseal.toml': 'release = "memtest/2026.11.01"\nkernel = "memtest.efi"\nfree = []\n',
    'memtest.efi': smallKernel(),
  });
  const { manifest, manifestSha256 } = await sealFixture(tree, keys);
  const { sections } = await makeUki(tree, keys);
  assert.ok(!sections.some(({ name }) => name === '.initrd'));
  assert.equal((await verify({ tree, anchors, now: NOW })).refusal, undefined);

  const server = await serve({
    ...{ tree, anchors, clock: () => NOW, log },
    ...{ httpPort: 0, tftpPort: 0, nbdPort: 0 },
  });
  t.after(() => server.close(0));
  for (const path of ['/uki.efi', '/releases/memtest/2026.11.01/uki.efi']) {
    const { verified, rootless, refusal } = await bootImage({ url: server.url + path, anchors, now: NOW });
    assert.deepEqual([verified, rootless, refusal], [true, true, undefined], path);
  }

  // An initrd that the manifest does not list is as wrong as another one. The signature is not what is asked here.
  const bare = join(folder, 'bare.efi');
  await uki({ tree, out: bare, now: NOW });
  const more = addPeSections(await readFile(bare), [{ name: '.initrd', data: Buffer.from('070701') }]);
  assert.throws(() => demandUkiOf('uki.efi', more, { manifest, manifestSha256 }), /another initrd/);
  // Xen with its Linux: an image has one command line, and would start the one without the other.
  const xen = { ...manifest, moduleCmdline: ['quiet'] };
  assert.throws(
    () => demandUkiOf('uki.efi', more, { manifest: xen, manifestSha256 }),
    /one kernel and one command line, and \S+ starts a module/,
  );
});
