import assert from 'node:assert/strict';
import { sign, verify } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { leafKeyPair } from '../../../src/signing/keys/leaf-key-pair.ts';
import { temporaryFolder } from '../../fixtures/folder.ts';
import { openssl } from '../judges.ts';

const folder = await temporaryFolder();

describe('the key of a release leaf', () => {
  for (const bits of [2048, 3072]) {
    it(`of ${bits} bits is what openssl calls an RSA key without fault`, async () => {
      const { privateKey, publicKey } = await leafKeyPair('rsa', bits);
      const file = join(folder, `${bits}.pem`);
      await writeFile(file, privateKey.export({ type: 'pkcs8', format: 'pem' }));
      const { status, stdout, stderr } = openssl('pkey', '-in', file, '-check', '-noout');
      assert.equal(status, 0, stderr);
      assert.match(`${stdout}${stderr}`, /Key is valid/);
      assert.equal(privateKey.asymmetricKeyDetails?.modulusLength, bits);
      assert.equal(publicKey.asymmetricKeyDetails?.publicExponent, 0x10001n);
      const text = Buffer.from('once');
      assert.ok(verify('sha256', text, publicKey, sign('sha256', text, privateKey)));
    });
  }

  it('is another each time', async () => {
    const [one, other] = await Promise.all([leafKeyPair('rsa', 2048), leafKeyPair('rsa', 2048)]);
    assert.ok(!one.publicKey.equals(other.publicKey));
  });

  it('is on P-256 where the CA is', async () => {
    const { publicKey } = await leafKeyPair('p256', 3072);
    assert.equal(publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  });

  it('is never shorter than clients take', async () => {
    await assert.rejects(async () => leafKeyPair('rsa', 1024), RangeError);
  });
});
