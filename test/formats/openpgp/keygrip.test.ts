import assert from 'node:assert/strict';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { it } from 'node:test';
import { keygripOf } from '../../../src/formats/openpgp/keygrip.ts';

/** Public keys and what `gpg --with-keygrip` 2.2.40 printed for them. */
const PRINTED = [
  [
    'RSA',
    'MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAt/DCWFm7gDULZS617soO9QcichmM7mAslxNwE1Sn6WdxCpbYO71riBg6f4JLrJaHQukxxUl57wSNJkBiL1IbxTCGj+VWleksxmUdUXV3tF3hcMpMqSePrdJNahmHTMdoeRZ3NZrIEJFNvI7DjSmCCpiVo7ZNLcSkzH9c+x72uB3X4vcAGt+rz2wWUMHLd2xPQSXH2U8KTYSM+ovUyFlUJ5EvjIg10D1TECS5UmqqtUmE2UYAMVGms3/PfTs7Inkle1yt6WHBV4tdVUQAprakNtmCgjVpeQu5cPHO4LV+FtQbOWFpcjIv0/nTMyv4JuqFZ4z7QioSGeBe6HxPqrRP1QIDAQAB',
    'C64B97AB5E0C341A1A2F9FC57D6D234A7421254C',
  ],
  [
    'P-256',
    'MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAErKZqCjjgwR/P3ZZBg0oc4RFamNPxMBTsCdJtwHVr7wNDvPpWbQe695pOqSyBasRN0xA69paq2RzLksFA7ulLmw==',
    '4EA502079AEAD92065EE49CF9A5C9407D72CD12F',
  ],
] as const;

for (const [kind, spki, keygrip] of PRINTED) {
  it(`the keygrip of a key of ${kind} is what gpg prints`, () => {
    const key = createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' });
    assert.equal(keygripOf(key), keygrip);
  });
}

it('a kind of key that nothing here signs with has none', () => {
  assert.equal(keygripOf(generateKeyPairSync('ed25519').publicKey), undefined);
  assert.equal(keygripOf(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey), undefined);
});
