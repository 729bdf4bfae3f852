import assert from 'node:assert/strict';
import { createHash, createPrivateKey, generateKeyPairSync, randomBytes, sign, verify } from 'node:crypto';
import { describe, it } from 'node:test';
import { isEcdsaSignature, signEcdsaDigest } from '../../../src/formats/asn1/ecdsa.ts';

const digestOf = (hash: string, content: string | Uint8Array) => createHash(hash).update(content).digest();
const number = (hex: string) => {
  const octets = Buffer.from(hex, 'hex');
  const value = (octets[0] ?? 0) & 0x80 ? Buffer.concat([Buffer.alloc(1), octets]) : octets;
  return Buffer.concat([Uint8Array.of(2, value.length), value]);
};
const der = (r: string, s: string) => {
  const both = Buffer.concat([number(r), number(s)]);
  return Buffer.concat([Uint8Array.of(0x30, both.length), both]);
};

/** RFC 6979, A.2.5. */
const RFC_KEY = createPrivateKey({
  format: 'jwk',
  key: {
    kty: 'EC',
    crv: 'P-256',
    d: Buffer.from('C9AFA9D845BA75166B5C215767B1D6934E50C3DB36E89B127B8A622B120F6721', 'hex').toString(
      'base64url',
    ),
    x: Buffer.from('60FED4BA255A9D31C961EB74C6356D68C049B8923B61FA6CE669622E60F29FB6', 'hex').toString(
      'base64url',
    ),
    y: Buffer.from('7903FE1008B8BC99A41AE9E95628BC64F2F1B20C2D7E9F5177A3C294D4462299', 'hex').toString(
      'base64url',
    ),
  },
});

describe('ECDSA from a finished digest', () => {
  it('is what RFC 6979 prints for "sample" and "test" with SHA-256', () => {
    assert.deepEqual(
      Buffer.from(signEcdsaDigest(RFC_KEY, digestOf('sha256', 'sample'))),
      der(
        'EFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716',
        'F7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8',
      ),
    );
    assert.deepEqual(
      Buffer.from(signEcdsaDigest(RFC_KEY, digestOf('sha256', 'test'))),
      der(
        'F1ABB023518351CD71D881567B1EA663ED3EFCF6C5132B354F28D3B0B7D38367',
        '019F4113742A2B14BD25926B49C649155F267E60D3814B4C0CC84250E46F0083',
      ),
    );
  });

  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

  it('is verified by node:crypto over the content, and the other way round', () => {
    for (let run = 0; run < 50; run += 1) {
      const content = randomBytes(run);
      const digest = digestOf('sha256', content);
      assert.ok(verify('sha256', content, publicKey, signEcdsaDigest(privateKey, digest)));
      assert.ok(isEcdsaSignature(publicKey, digest, sign('sha256', content, privateKey)));
    }
  });

  it('holds for one digest, one key and one way of writing it', () => {
    const digest = digestOf('sha256', 'content');
    const good = Buffer.from(signEcdsaDigest(privateKey, digest));
    assert.ok(isEcdsaSignature(publicKey, digest, good));
    for (let at = 0; at < good.length; at += 1) {
      const bad = Buffer.from(good);
      bad[at] = (bad[at] ?? 0) ^ 1;
      assert.ok(!isEcdsaSignature(publicKey, digest, bad), `byte ${at}`);
    }
    for (const bad of [Buffer.alloc(0), good.subarray(0, -1), Buffer.concat([good, Buffer.alloc(1)])]) {
      assert.ok(!isEcdsaSignature(publicKey, digest, bad));
    }
    assert.ok(!isEcdsaSignature(publicKey, digestOf('sha256', 'other'), good));
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
    assert.ok(!isEcdsaSignature(stranger, digest, good));
  });

  it('is for P-256 alone', () => {
    const { publicKey: other } = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
    assert.ok(!isEcdsaSignature(other, digestOf('sha256', 'x'), Buffer.alloc(70)));
  });
});
