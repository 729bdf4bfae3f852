import assert from 'node:assert/strict';
import { cp, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeDetachedCms } from '../../../src/formats/asn1/cms.ts';
import { createKeyFolder } from '../../../src/signing/keys/init.ts';
import { readKeyFolder } from '../../../src/signing/keys/key-folder.ts';
import { rotateKeyFolder } from '../../../src/signing/keys/rotate.ts';
import { readAnchorFolder } from '../../../src/trust/anchor-folder.ts';
import { misused } from '../../fixtures/failed.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { judgeFolder } from '../../fixtures/judge.ts';
import { NOW } from '../../fixtures/keys.ts';
import { readyKeyPair } from '../../fixtures/ready-keys.ts';
import { KERNEL, ROOTFS, sampleTree, sealFixture } from '../../fixtures/release.ts';

import { openssl, opensslTakes } from '../judges.ts';

const DAY = 86_400_000;
const folder = await temporaryFolder();
const keys = join(folder, 'keys');
await createKeyFolder(keys, {
  site: 'lab',
  kind: 'rsa',
  rsaBits: 2048,
  now: NOW,
  issuingCa: true,
  makeKeyPair: readyKeyPair,
});
const anchor = (name: string, of = keys) => join(of, 'anchors', name);
const tree = await sampleTree(join(folder, 'tree'), keys);
await sealFixture(tree, keys);

/** archiso's own command: it holds the signer and the root, and nothing between them. */
const archiso = (seal: string, content: string, signer: string) =>
  opensslTakes(
    join(tree, content),
    join(tree, seal),
    ['-nointern', '-certfile', anchor(signer), '-CAfile', anchor('ca.crt')],
    NOW,
  );

describe('a CA under a root', () => {
  it('is issued by it, and issues the leaves, as openssl says', () => {
    const verify = (...words: string[]) =>
      openssl('verify', '-x509_strict', '-purpose', 'any', '-attime', String(NOW / 1000), ...words).status;
    assert.equal(verify('-CAfile', anchor('ca.crt'), anchor('issuing-ca.crt')), 0);
    for (const leaf of ['codesign.crt', 'boot.crt', 'manifest.crt']) {
      assert.equal(
        verify('-CAfile', anchor('ca.crt'), '-untrusted', anchor('issuing-ca.crt'), anchor(leaf)),
        0,
      );
      assert.notEqual(verify('-CAfile', anchor('ca.crt'), anchor(leaf)), 0, 'not without it');
    }
    const limits = openssl('x509', '-in', anchor('ca.crt'), '-noout', '-ext', 'basicConstraints').stdout;
    assert.match(limits, /CA:TRUE, pathlen:1/);
  });

  it('stands inside every seal of payload and records, so that whoever holds the root finds the way', async () => {
    assert.ok(archiso(`${ROOTFS}.cms.sig`, ROOTFS, 'codesign.crt'));
    assert.ok(archiso(`${KERNEL}.cms.sig`, KERNEL, 'codesign.crt'));
    assert.ok(archiso('release.manifest.cms.sig', 'release.manifest', 'manifest.crt'));
    assert.ok(!archiso('release.manifest.cms.sig', 'release.manifest', 'codesign.crt'));
    const inside = async (seal: string) =>
      decodeDetachedCms(await readFile(join(tree, seal)))
        .certificates.map(({ commonName }) => commonName)
        .sort();
    assert.deepEqual(await inside(`${ROOTFS}.cms.sig`), ['netboot CA lab']);
    assert.deepEqual(await inside('boot.ipxe.sig'), ['boot.lab', 'netboot CA lab', 'netboot root lab']);
    assert.deepEqual(await inside(`${KERNEL}.ipxe.sig`), [
      'arch/2026.11.01',
      'netboot CA lab',
      'netboot root lab',
    ]);
  });

  it('needs no anchors of its own: a verifier has the root', async () => {
    const bare = join(folder, 'bare');
    await cp(join(keys, 'anchors'), bare, { recursive: true });
    await rm(join(bare, 'issuing-ca.crt'));
    const { refusal } = await judgeFolder(tree, await readAnchorFolder(bare));
    assert.equal(refusal, undefined, refusal?.message);
  });

  it('seals without the key of the root, which is in a safe', async () => {
    const away = join(folder, 'without-root');
    await cp(keys, away, { recursive: true });
    await rm(join(away, 'private', 'root.key'));
    const { above } = await readKeyFolder(away, NOW);
    assert.deepEqual(
      above.map(({ commonName }) => commonName),
      ['netboot root lab'],
    );
  });

  it('is replaced under the same root, which loaders need not hear of', async () => {
    const at = { only: ['ca'], now: NOW + DAY, rsaBits: 2048, makeKeyPair: readyKeyPair } as const;
    const safe = join(folder, 'root.key');
    await rename(join(keys, 'private', 'root.key'), safe);
    const next = join(folder, 'next');
    await assert.rejects(rotateKeyFolder(keys, next, at), misused(/put private\/root\.key there/));
    await rename(safe, join(keys, 'private', 'root.key'));
    const { newTrust } = await rotateKeyFolder(keys, next, at);
    assert.equal(newTrust, false);
    assert.deepEqual(await readFile(anchor('ca.crt', next)), await readFile(anchor('ca.crt')));
    const later = await sampleTree(join(folder, 'later'), next);
    await sealFixture(later, next, { now: NOW + DAY });
    // Anchors of the overlap take both.
    for (const of of [tree, later]) {
      const { refusal } = await judgeFolder(of, await readAnchorFolder(next), NOW + DAY);
      assert.equal(refusal, undefined, refusal?.message);
    }
  });
});
