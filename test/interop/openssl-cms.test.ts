import assert from 'node:assert/strict';
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { decodeDetachedCms, encodeDetachedCms } from '../../src/formats/asn1/cms.ts';
import { readKeyFolder } from '../../src/signing/keys/key-folder.ts';
import { sealRecord } from '../../src/signing/seal-record.ts';
import { certifiedSigner } from '../../src/signing/signatories.ts';
import { archisoRules, cmsCheck, imgverifyRules, leafRules } from '../../src/trust/cms-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { makeKeys, NOW } from '../fixtures/keys.ts';
import { CONTENT, makeCmsVectors } from '../trust/cms-vectors.ts';
import { judge } from '../trust/judge.ts';

const folder = await temporaryFolder();
const file = join(folder, 'content');
writeFileSync(file, CONTENT);

function openssl(...args: readonly string[]): SpawnSyncReturns<Buffer> {
  const result = spawnSync('openssl', args, { timeout: 60_000 });
  if (result.error) throw result.error;
  return result;
}

/** `openssl cms -sign` with Arch's flags (and the CA inside, for iPXE, where `extra` says so). */
function opensslSign(keys: string, name: string, ...extra: string[]): Buffer {
  const out = join(folder, 'openssl.sig');
  const who = [
    '-signer',
    join(keys, 'anchors', `${name}.crt`),
    '-inkey',
    join(keys, 'private', `${name}.key`),
  ];
  const flags = ['-binary', '-noattr', '-in', file, ...who, '-outform', 'DER', '-out', out, ...extra];
  const { status, stderr } = openssl('cms', '-sign', ...flags);
  assert.equal(status, 0, stderr.toString());
  return readFileSync(out);
}

async function ourSeal(keys: string, name: 'codesign' | 'boot', chain: 'none' | 'whole'): Promise<Buffer> {
  const all = await readKeyFolder(keys, NOW);
  const key = all[name];
  const certificates = chain === 'none' ? [] : [key.certificate.raw, all.ca.certificate.raw];
  return Buffer.from(await sealRecord(CONTENT, certifiedSigner(name, key), certificates));
}

const rsa = await makeKeys(join(folder, 'rsa'));
const p256 = await makeKeys(join(folder, 'p256'), { kind: 'p256' });
const anchor = (keys: string, name: string) => join(keys, 'anchors', name);

describe('CMS and openssl', () => {
  it('agree on every byte of an RSA seal without certificates, as Arch makes .cms.sig', async () => {
    assert.deepEqual(await ourSeal(rsa, 'codesign', 'none'), opensslSign(rsa, 'codesign', '-nocerts'));
  });

  it('agree on every byte of an RSA seal with its chain, as iPXE needs it', async () => {
    const theirs = opensslSign(rsa, 'boot', '-certfile', anchor(rsa, 'ca.crt'));
    assert.deepEqual(await ourSeal(rsa, 'boot', 'whole'), theirs);
  });

  it('agree on an ECDSA seal but for the signature, into which a random number goes', async () => {
    for (const [chain, flags] of [
      ['none', ['-nocerts']],
      ['whole', ['-certfile', anchor(p256, 'ca.crt')]],
    ] as const) {
      const theirs = opensslSign(p256, 'codesign', ...flags);
      const ours = await ourSeal(p256, 'codesign', chain);
      assert.notDeepEqual(ours, theirs);
      const [signer] = decodeDetachedCms(theirs).signers;
      assert.ok(signer);
      const certificates = decodeDetachedCms(ours).certificates.map(({ raw }) => raw);
      // Our frame around their signature: every byte but the signature's is the same.
      assert.deepEqual(Buffer.from(encodeDetachedCms(signer, certificates)), theirs);
    }
  });

  for (const [kind, keys] of [
    ['RSA', rsa],
    ['ECDSA', p256],
  ] as const) {
    it(`of ours by ${kind} passes the very flags of archiso, and no other content does`, async () => {
      const seal = join(folder, 'ours.cms.sig');
      writeFileSync(seal, await ourSeal(keys, 'codesign', 'none'));
      const verify = (content: string) =>
        openssl(
          ...['cms', '-verify', '-binary', '-noattr', '-nointern', '-purpose', 'any', '-in', seal],
          ...['-content', content, '-inform', 'DER', '-out', '/dev/null', '-attime', String(NOW / 1000)],
          ...['-certfile', anchor(keys, 'codesign.crt'), '-CAfile', anchor(keys, 'ca.crt')],
        );
      const good = verify(file);
      assert.equal(good.status, 0, good.stderr.toString());
      assert.match(good.stderr.toString(), /CMS Verification successful/);
      writeFileSync(join(folder, 'other'), 'other');
      assert.notEqual(verify(join(folder, 'other')).status, 0);
    });

    it(`of theirs by ${kind} passes all three of our dialects`, async () => {
      const { ca, codesign } = await readKeyFolder(keys, NOW);
      const [roots, signers] = [[ca.certificate], [codesign.certificate]];
      const bare = opensslSign(keys, 'codesign', '-nocerts');
      const whole = opensslSign(keys, 'codesign', '-certfile', anchor(keys, 'ca.crt'));
      for (const [seal, rules] of [
        [bare, archisoRules(signers, roots)],
        [bare, leafRules(signers, roots)],
        [whole, archisoRules(signers, roots)],
        [whole, imgverifyRules(roots, 'codesign.lab')],
      ] as const) {
        assert.equal(await judge(cmsCheck('x', seal, rules, defaultPolicy(NOW), NOW), CONTENT), 'verified');
      }
    });
  }
});

describe('what openssl refuses', () => {
  const { ca, vectors } = makeCmsVectors(folder);
  const roots = [ca.certificate];
  for (const [index, { name, seal, verdict, opensslTakesIt, at = NOW }] of vectors.entries()) {
    const takes = verdict === 'verified' || opensslTakesIt === true;
    it(`${takes ? 'is not' : 'we refuse, too'}: a seal ${name}`, async () => {
      const path = join(folder, `${index}.sig`);
      writeFileSync(path, seal);
      const { status } = openssl(
        ...['cms', '-verify', '-binary', '-purpose', 'any', '-inform', 'DER', '-in', path, '-content', file],
        ...['-out', '/dev/null', '-CAfile', ca.path, '-attime', String(at / 1000)],
      );
      assert.equal(status === 0, takes);
      if (!takes) {
        const check = cmsCheck('x', seal, imgverifyRules(roots), defaultPolicy(at), at);
        assert.notEqual(await judge(check, CONTENT), 'verified');
      }
    });
  }
});
