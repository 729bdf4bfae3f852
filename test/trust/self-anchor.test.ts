import assert from 'node:assert/strict';
import { copyFile, cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { FolderTree } from '../../src/files/folder-tree.ts';
import { decodeCertificates, NO_KEYRINGS } from '../../src/trust/anchors.ts';
import { readSelfAnchor } from '../../src/trust/self-anchor.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { judgeFolder } from '../fixtures/judge.ts';
import { makeKeys } from '../fixtures/keys.ts';
import { KERNEL, sealFixture } from '../fixtures/release.ts';
import { smallTree } from '../signing/trees.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const other = await makeKeys(join(folder, 'other'), { kind: 'p256' });
const good = await smallTree(join(folder, 'good'));
await sealFixture(good, keys);
let copies = 0;
const copy = async () => {
  const tree = join(folder, `tree-${copies++}`);
  await cp(good, tree, { recursive: true });
  return tree;
};
const judge = async (tree: string) => judgeFolder(tree, await readSelfAnchor(new FolderTree(tree)));

it('the anchor of a tree is the CA that its boot script carries, and no other key', async () => {
  const anchors = await readSelfAnchor(new FolderTree(good));
  const [ca] = decodeCertificates('ca.crt', await readFile(join(keys, 'anchors/ca.crt')));
  assert.equal(anchors.ca.length, 1);
  assert.deepEqual(Buffer.from(anchors.ca[0]?.raw ?? []), Buffer.from(ca?.raw ?? []));
  assert.equal(anchors.bootSigner, 'boot.lab');
  assert.deepEqual([anchors.codesign, anchors.manifest, anchors.openpgp], [[], [], NO_KEYRINGS]);
});

it('a sealed tree agrees with itself', async () => {
  const verdict = await judge(good);
  assert.equal(verdict.refusal, undefined);
  assert.equal(verdict.manifest?.release, 'arch/2026.11.01');
});

it('a tree whose files one stranger sealed does not', async () => {
  const tree = await copy();
  const foreign = await smallTree(join(folder, 'foreign'));
  await sealFixture(foreign, other);
  await copyFile(join(foreign, `${KERNEL}.ipxe.sig`), join(tree, `${KERNEL}.ipxe.sig`));
  assert.equal((await judge(tree)).refusal?.code, 'untrusted-signer');
});

it('nor does one whose manifest is not the one that its script names', async () => {
  const tree = await copy();
  const manifest = await readFile(join(tree, 'release.manifest'), 'latin1');
  await writeFile(join(tree, 'release.manifest'), manifest.replace('x86_64', 'x86_65'));
  assert.equal((await judge(tree)).refusal?.code, 'mixed-releases');
});

it('a tree that is not sealed has none', async () => {
  const tree = await copy();
  await rm(join(tree, 'boot.ipxe.sig'));
  await assert.rejects(readSelfAnchor(new FolderTree(tree)), {
    code: 'absent',
    message: /is not sealed\. Run "bootseal seal" first/,
  });
  await mkdir(join(tree, 'boot.ipxe.sig'));
  await assert.rejects(readSelfAnchor(new FolderTree(tree)), { name: 'Refusal' });
});

it('nonsense carries none, and a seal without a chain no CA', async () => {
  const tree = await copy();
  await writeFile(join(tree, 'boot.ipxe.sig'), 'nonsense');
  await assert.rejects(readSelfAnchor(new FolderTree(tree)), {
    code: 'malformed',
    message: /^boot\.ipxe\.sig is malformed/,
  });
  await copyFile(join(tree, 'release.manifest.cms.sig'), join(tree, 'boot.ipxe.sig'));
  await assert.rejects(readSelfAnchor(new FolderTree(tree)), {
    code: 'untrusted-signer',
    message: /does not carry one CA/,
  });
});
