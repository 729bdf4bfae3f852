import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bytesContent } from '../../src/files/measure.ts';
import { decodeDetachedOpenpgp } from '../../src/formats/openpgp/openpgp-signature.ts';
import { decodeOpenpgpCertificates } from '../../src/trust/openpgp-certificate.ts';
import { openpgpCheck } from '../../src/trust/openpgp-check.ts';
import { defaultPolicy } from '../../src/trust/policy.ts';
import { verify } from '../../src/trust/verify.ts';
import { NOW } from '../fixtures/keys.ts';
import { KEY_CREATED, publicKeyPacket, signTest, subpacket, userId } from '../fixtures/openpgp.ts';
import { judge, refused } from './judge.ts';
import { CONTENT, openpgpVectors, primary } from './openpgp-vectors.ts';

const DAY = 86_400_000;
const policy = defaultPolicy(NOW);
const certificates = decodeOpenpgpCertificates(Buffer.concat([publicKeyPacket(primary), userId(primary)]));

describe('an OpenPGP seal', () => {
  for (const { name, keyring, seal, verdict } of openpgpVectors) {
    it(`${verdict === 'verified' ? 'holds' : `is refused (${verdict})`} ${name}`, async () => {
      const check = openpgpCheck('x.sig', seal, decodeOpenpgpCertificates(keyring), policy, NOW);
      assert.equal(await judge(check, CONTENT), verdict);
    });
  }

  it('holds only for bytes that say the same: any other change is refused', async () => {
    const seal = signTest(primary, CONTENT);
    const held: number[] = [];
    for (let at = 0; at < seal.length; at++) {
      const changed = Buffer.from(seal);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      const check = openpgpCheck('x.sig', changed, certificates, policy, NOW);
      if ((await judge(check, CONTENT)) === 'verified') held.push(at);
    }
    // The unhashed key id and the digest's first bytes: hints, which gpgv passes over too.
    const [signature] = decodeDetachedOpenpgp(seal);
    const hints = seal.length - (signature?.mpis[0]?.length ?? 0) - 2 - 2;
    assert.deepEqual(
      held.filter((at) => at < hints - 9 || at >= hints + 2),
      [],
    );
  });

  it('for GRUB must have its hints right, too', async () => {
    const seal = signTest(primary, CONTENT);
    const check = (bytes: Uint8Array) => openpgpCheck('x.sig', bytes, certificates, policy, NOW, 'grub');
    assert.equal(await judge(check(seal), CONTENT), 'verified');
    for (let at = 0; at < seal.length; at++) {
      const changed = Buffer.from(seal);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      assert.notEqual(await judge(check(changed), CONTENT), 'verified', `byte ${at}`);
    }
    const hashedId = signTest(primary, CONTENT, {
      hashed: [subpacket(16, Buffer.from(primary.key.keyId, 'hex'))],
      unhashed: [],
    });
    assert.equal(
      await judge(openpgpCheck('x.sig', hashedId, certificates, policy, NOW), CONTENT),
      'verified',
    );
    assert.equal(await judge(check(hashedId), CONTENT), 'bad-signature');
  });

  it('may be a day ahead of a slow clock, and no more', async () => {
    const seal = signTest(primary, CONTENT, { created: NOW });
    for (const [now, verdict] of [
      [NOW - DAY, 'verified'],
      [NOW - DAY - 1, 'not-yet-valid'],
    ] as const) {
      assert.equal(await judge(openpgpCheck('x.sig', seal, certificates, policy, now), CONTENT), verdict);
    }
  });

  it('tells a clock that was lost from tampering', async () => {
    const check = openpgpCheck('x.sig', signTest(primary, CONTENT), certificates, policy, 0);
    await assert.rejects(
      verify('x', bytesContent(CONTENT), [check]),
      refused('not-yet-valid', /this machine's clock says 1970-01-01/),
    );
    const bad = openpgpCheck('x.sig', signTest(primary, Buffer.from('other')), certificates, policy, 0);
    assert.equal(await judge(bad, CONTENT), 'bad-signature');
  });

  it('says who signed, by the whole fingerprint', async () => {
    const check = openpgpCheck('x.sig', signTest(primary, CONTENT), certificates, policy, NOW);
    const { evidence } = await verify('x', bytesContent(CONTENT), [check]);
    const said = evidence.map(({ check: name, signer, signed }) => [name, signer, signed]);
    assert.deepEqual(said, [['openpgp', primary.key.fingerprint, true]]);
    assert.equal(certificates[0]?.primary.created, KEY_CREATED);
  });

  it('is refused where the keyring is empty', async () => {
    assert.equal(
      await judge(openpgpCheck('x.sig', signTest(primary, CONTENT), [], policy, NOW), CONTENT),
      'untrusted-signer',
    );
  });
});
