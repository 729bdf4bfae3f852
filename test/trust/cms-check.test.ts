import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytesContent } from '../../src/files/measure.ts';
import { archisoRules, cmsCheck, imgverifyRules, leafRules } from '../../src/trust/cms-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { examine, verify } from '../../src/trust/verify.ts';
import { LEAF_EXTENSIONS, type MadeCertificate } from '../fixtures/certificates.ts';
import { temporaryFolder } from '../fixtures/folder.ts';
import { NOW } from '../fixtures/keys.ts';
import { CONTENT, flipped, makeCmsVectors } from './cms-vectors.ts';
import { judge, refused } from './judge.ts';

const HOUR = 3_600_000;
const { maker, ca, leaf, vectors } = makeCmsVectors(await temporaryFolder());
const roots = [ca.certificate];
const policy = defaultPolicy(NOW);
/** An iPXE that has its anchors from TRUST= alone. */
const strict = (name?: string) => ({ ...imgverifyRules(roots, name), complete: true });
const whole = (...signers: MadeCertificate[]) =>
  maker.cms(CONTENT, signers, ['-noattr', '-certfile', ca.path]);

describe('a CMS seal, verified as iPXE does', () => {
  for (const { name, seal, verdict, at = NOW, commonName } of vectors) {
    it(`${verdict === 'verified' ? 'holds' : `is refused (${verdict})`} ${name}`, async () => {
      const rules = strict(commonName);
      assert.equal(await judge(cmsCheck('x.sig', seal, rules, policy, at), CONTENT), verdict);
    });
  }

  it('never holds with any byte of it changed', async () => {
    const seal = whole(leaf);
    for (let at = 0; at < seal.length; at++) {
      const check = cmsCheck('x.sig', flipped(seal, at), strict(), policy, NOW);
      assert.notEqual(await judge(check, CONTENT), 'verified', `byte ${at}`);
    }
  });

  it('by ECDSA is answered, not thrown at, with any byte of it changed', async () => {
    const seal = whole(maker.make({ commonName: 'leaf', issuer: ca, key: 'prime256v1' }));
    for (let at = 0; at < seal.length; at++) {
      const check = cmsCheck('x.sig', flipped(seal, at), strict(), policy, NOW);
      assert.notEqual(await judge(check, CONTENT), 'verified', `byte ${at}`);
    }
  });

  it('tells a clock that was lost from tampering', async () => {
    const check = cmsCheck('x.sig', whole(leaf), strict(), policy, 0);
    await assert.rejects(
      verify('x', bytesContent(CONTENT), [check]),
      refused('not-yet-valid', /this machine's clock says 1970-01-01: set it, or name a time server/),
    );
  });

  it('is given twelve and a half hours for clocks in local time, both ways', async () => {
    const seal = whole(leaf);
    const { notBefore, notAfter } = leaf.certificate;
    const at = (now: number) => judge(cmsCheck('x.sig', seal, strict(), policy, now), CONTENT);
    assert.equal(await at(notAfter + 12.5 * HOUR), 'verified');
    assert.equal(await at(notAfter + 12.5 * HOUR + 1), 'expired');
    assert.equal(await at(notBefore - 12.5 * HOUR), 'verified');
    assert.equal(await at(notBefore - 12.5 * HOUR - 1), 'not-yet-valid');
  });

  it('passes over signers of other names, if one of the name asked for holds', async () => {
    const second = maker.make({ commonName: 'second', key: 'rsa-second', issuer: ca });
    const seal = whole(leaf, second);
    for (const [name, verdict] of [
      ['leaf', 'verified'],
      ['second', 'verified'],
      ['third', 'untrusted-signer'],
    ] as const) {
      assert.equal(await judge(cmsCheck('x.sig', seal, strict(name), policy, NOW), CONTENT), verdict);
    }
  });

  it('needs no CA inside for a client that holds it', async () => {
    const check = cmsCheck('x.sig', maker.cms(CONTENT, [leaf]), imgverifyRules(roots), policy, NOW);
    assert.equal(await judge(check, CONTENT), 'verified');
  });

  it('says who signed', async () => {
    const check = cmsCheck('x.sig', whole(leaf), strict(), policy, NOW);
    const { evidence } = await verify('x', bytesContent(CONTENT), [check]);
    assert.deepEqual(evidence, [{ check: 'cms', signer: 'leaf', signed: true }]);
  });

  it('asks nothing of the content when it is lost beforehand', async () => {
    const check = cmsCheck('x.sig', Buffer.from('junk'), strict(), policy, NOW);
    assert.deepEqual(check.questions, []);
    const { findings, verified } = await examine(bytesContent(CONTENT), [check]);
    assert.equal(verified, undefined);
    assert.equal(findings[0]?.verified, false);
  });
});

describe('a CMS seal, verified with the signer at hand', () => {
  const bare = maker.cms(CONTENT, [leaf], ['-noattr', '-nocerts']);
  const renewed = maker.make({ commonName: 'leaf', issuer: ca });
  const tls = maker.make({
    commonName: 'tls',
    issuer: ca,
    extensions: [LEAF_EXTENSIONS[0] ?? '', LEAF_EXTENSIONS[1] ?? '', 'extendedKeyUsage=serverAuth'],
  });
  const signers = [leaf.certificate];

  it('holds without any certificate inside', async () => {
    for (const rules of [archisoRules(signers, roots), leafRules(signers, roots)]) {
      assert.equal(await judge(cmsCheck('x.cms.sig', bare, rules, policy, NOW), CONTENT), 'verified');
    }
  });

  it('is refused where only the certificate inside it would do (-nointern)', async () => {
    const seal = maker.cms(CONTENT, [renewed]);
    for (const rules of [archisoRules(signers, roots), leafRules(signers, roots)]) {
      assert.equal(await judge(cmsCheck('x.cms.sig', seal, rules, policy, NOW), CONTENT), 'untrusted-signer');
    }
  });

  it('is refused without a CA file, since a leaf is no CA for itself', async () => {
    for (const rules of [archisoRules(signers, []), leafRules(signers, [])]) {
      const check = cmsCheck('x.cms.sig', bare, rules, policy, NOW);
      assert.equal(await judge(check, CONTENT), 'untrusted-signer');
    }
  });

  it('holds for archiso by a self-signed signer that is its own CA file', async () => {
    const own = maker.make({ commonName: 'own' });
    const seal = maker.cms(CONTENT, [own], ['-noattr', '-nocerts']);
    const check = cmsCheck('x.cms.sig', seal, archisoRules([own.certificate], []), policy, NOW);
    assert.equal(await judge(check, CONTENT), 'verified');
  });

  it('by a TLS server passes archiso (-purpose any), and never our own rules', async () => {
    const seal = maker.cms(CONTENT, [tls], ['-noattr', '-nocerts']);
    const check = (rules: typeof archisoRules) =>
      judge(cmsCheck('x.cms.sig', seal, rules([tls.certificate], roots), policy, NOW), CONTENT);
    assert.equal(await check(archisoRules), 'verified');
    assert.equal(await check(leafRules), 'wrong-purpose');
  });

  it('is given no margin', async () => {
    const { notAfter } = leaf.certificate;
    for (const [now, verdict] of [
      [notAfter, 'verified'],
      [notAfter + 1, 'expired'],
    ] as const) {
      const check = cmsCheck('x.cms.sig', bare, leafRules(signers, roots), policy, now);
      assert.equal(await judge(check, CONTENT), verdict);
    }
  });

  it('is refused by a client that holds no signer', async () => {
    assert.equal(
      await judge(cmsCheck('x.cms.sig', bare, leafRules([], roots), policy, NOW), CONTENT),
      'untrusted-signer',
    );
  });
});
