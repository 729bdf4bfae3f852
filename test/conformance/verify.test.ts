import assert from 'node:assert/strict';
import { cp, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { it } from 'node:test';
import { verify } from '../../src/conformance/verify.ts';
import { createKeyFolder as init } from '../../src/signing/keys/init.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { sealRecord } from '../../src/signing/seal-record.ts';
import { certifiedSigner } from '../../src/signing/signatories.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { sealFixture, writeTree } from '../fixtures/release.ts';
import { smallTree } from '../signing/trees.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = await makeKeys(join(folder, 'keys'));
const tree = await smallTree(join(folder, 'tree'));
await sealFixture(tree, keys);

it('a sealed tree is verified, from the init folder and from its public half', async () => {
  for (const anchors of [keys, join(keys, 'anchors')]) {
    const verdict = await verify({ tree, anchors, now: NOW });
    assert.equal(verdict.refusal, undefined);
    assert.deepEqual(verdict.lint, []);
    assert.equal(verdict.manifest?.release, 'arch/2026.11.01');
  }
});

it('keys that init made under the profiles’ own lengths seal what verifies', async () => {
  const own = join(folder, 'profile-keys');
  await init(own, { site: 'lab', kind: 'p256', now: NOW });
  const copy = await smallTree(join(folder, 'profile-tree'));
  await sealFixture(copy, own);
  assert.equal((await verify({ tree: copy, anchors: own, now: NOW })).refusal, undefined);
  assert.equal((await verify({ tree: copy, anchors: keys, now: NOW })).refusal?.code, 'untrusted-signer');
});

for (const name of [
  'codesign.crt',
  'boot.crt',
  'manifest.crt',
  'pubring.gpg',
  'script.gpg',
  'manifest.gpg',
]) {
  it(`fewer anchors do not mean fewer checks: without ${name} nothing is verified`, async () => {
    const anchors = join(folder, `without-${name}`);
    await cp(join(keys, 'anchors'), anchors, { recursive: true });
    await rm(join(anchors, name));
    await assert.rejects(verify({ tree, anchors, now: NOW }), {
      name: 'UsageError',
      message: new RegExp(`holds no ${name.replace('.', '\\.')}, so not every seal can be verified`),
    });
  });
}

it('a private folder is no folder of anchors', async () => {
  await assert.rejects(verify({ tree, anchors: join(keys, 'private'), now: NOW }), { code: 'absent' });
});

it('the time is the caller’s', async () => {
  const code = async (now: number) => (await verify({ tree, anchors: keys, now })).refusal?.code;
  assert.equal(await code(NOW + 90 * DAY), undefined);
  assert.equal(await code(NOW + 91 * DAY), 'stale');
  assert.equal(await code(NOW - 2 * DAY), 'not-yet-valid');
});

it('a boot script that is well signed and unsafe is refused by its line', async () => {
  const copy = join(folder, 'unsafe');
  await cp(tree, copy, { recursive: true });
  const script = await readFile(join(copy, 'boot.ipxe'), 'latin1');
  const unsafe = Buffer.from(script.replace(/^imgverify .*$/m, 'echo verified'), 'latin1');
  assert.notEqual(unsafe.toString('latin1'), script);
  const { boot, ca } = await readKeyFolder(keys, NOW);
  const chain = [boot.certificate.raw, ca.certificate.raw];
  const seal = await sealRecord(unsafe, certifiedSigner('boot', boot), chain);
  await writeTree(copy, { 'boot.ipxe': unsafe, 'boot.ipxe.sig': Buffer.from(seal) });
  const verdict = await verify({ tree: copy, anchors: keys, now: NOW });
  assert.ok(verdict.rows.every(({ verified }) => verified));
  assert.equal(verdict.refusal?.code, 'unsafe-script');
  assert.match(verdict.refusal?.message ?? '', /^boot\.ipxe, line \d+: /);
  assert.ok(verdict.lint.length > 0);
});
