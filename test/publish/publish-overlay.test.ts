import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { publish } from '../../src/publish/publish.ts';
import { initrd } from '../emulator/early/release.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { overlayOf } from '../fixtures/overlay.ts';
import { INITRD, ROOTFS, sampleTree, sealFixture } from '../fixtures/release.ts';

const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const anchors = join(keys, 'anchors');

let count = 0;
/** Arch's tree with an overlay; its own initramfs holds no key at all, as on 2021-11-01. */
async function release(overlay: Uint8Array, cmdline = 'quiet'): Promise<string> {
  const tree = await sampleTree(join(folder, `tree-${++count}`), keys);
  await writeFile(join(tree, INITRD), initrd({}));
  // Blocks of no file system: the sample's claims to be a squashfs, and mode verity looks into it.
  await writeFile(join(tree, ROOTFS), Buffer.alloc(20 * 4096, 'root image '));
  await writeFile(join(tree, 'bootseal-overlay.img'), overlay);
  await sealFixture(tree, keys, { cmdline });
  return tree;
}

async function gates(tree: string, policy?: string) {
  const state = join(folder, `state-${++count}`);
  const path = join(folder, `policy-${count}.toml`);
  if (policy !== undefined) await writeFile(path, policy);
  const { gates: rows } = await publish({
    tree,
    channel: 'stable',
    state,
    anchors,
    now: NOW,
    rsaBits: 2048,
    dryRun: true,
    ...(policy === undefined ? {} : { policy: path }),
  });
  const bad = rows.filter(({ refusal }) => refusal).map(({ gate, refusal }) => [gate, refusal?.code]);
  return { bad, fact: (name: string) => rows.find(({ gate }) => gate === name)?.fact };
}

for (const mode of ['verity', 'ram'] as const) {
  it(`a release whose overlay brings the keys passes every gate, mode ${mode}`, async () => {
    const { bad, fact } = await gates(await release(await overlayOf(keys, { mode })));
    assert.deepEqual(bad, []);
    assert.match(fact('keys in initramfs') ?? '', /, in the overlay$/);
    assert.match(
      fact('command line') ?? '',
      new RegExp(`^starts the overlay, mode ${mode}: manifest by CMS`),
    );
  });
}

it('an overlay with the keys of another site is refused before any machine halts on it', async () => {
  const { bad } = await gates(await release(await overlayOf(await makeKeys(join(folder, 'stranger')))));
  assert.deepEqual(bad, [
    ['keys in initramfs', 'untrusted-signer'],
    ['client manifest', 'untrusted-signer'],
  ]);
});

it('an overlay that would refuse this very release as rolled back is refused', async () => {
  const { bad } = await gates(await release(await overlayOf(keys, { minSerial: 2026120100 })));
  assert.deepEqual(bad, [['client manifest', 'rolled-back']]);
});

it('a policy that requires OpenPGP is met by an overlay with gpg, and by no other', async () => {
  const policy = '[publish]\nrequire = ["manifest", "openpgp"]\n';
  assert.deepEqual((await gates(await release(await overlayOf(keys)), policy)).bad, [
    ['command line', 'absent'],
  ]);
  assert.deepEqual((await gates(await release(await overlayOf(keys, {}, true)), policy)).bad, []);
});
