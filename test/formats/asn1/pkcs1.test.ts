import assert from 'node:assert/strict';
import { constants, createHash, generateKeyPairSync, privateEncrypt, sign } from 'node:crypto';
import { describe, it } from 'node:test';
import { der, derOid, derSequence, TAG } from '../../../src/formats/asn1/der.ts';
import { type HashName, OID } from '../../../src/formats/asn1/oids.ts';
import {
  digestInfo,
  isRsaSignature,
  signRsaDigest,
  signRsaMessage,
} from '../../../src/formats/asn1/pkcs1.ts';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const MESSAGE = Buffer.from('the message');
const DIGEST = createHash('sha256').update(MESSAGE).digest();

/** A signature over whatever stands where the DigestInfo belongs. */
function over(payload: Uint8Array): Buffer {
  return privateEncrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, payload);
}

describe('RSASSA-PKCS1-v1_5 over a finished digest', () => {
  // RFC 8017 §9.2, note 1.
  const prefixes: readonly [HashName, string][] = [
    ['md5', '3020300c06082a864886f70d020505000410'],
    ['sha1', '3021300906052b0e03021a05000414'],
    ['sha224', '302d300d06096086480165030402040500041c'],
    ['sha256', '3031300d060960864801650304020105000420'],
    ['sha384', '3041300d060960864801650304020205000430'],
    ['sha512', '3051300d060960864801650304020305000440'],
  ];
  for (const [hash, prefix] of prefixes) {
    it(`is what node:crypto makes of the whole message with ${hash}`, async () => {
      const digest = createHash(hash).update(MESSAGE).digest();
      assert.equal(Buffer.from(digestInfo(hash, digest)).toString('hex'), prefix + digest.toString('hex'));
      const signature = signRsaDigest(privateKey, hash, digest);
      assert.deepEqual(signature, sign(hash, MESSAGE, privateKey));
      assert.deepEqual(signature, await signRsaMessage(privateKey, hash, MESSAGE));
      assert.equal(isRsaSignature(publicKey, hash, digest, signature), true);
    });
  }

  it('does not hold for another digest, hash or key', () => {
    const signature = signRsaDigest(privateKey, 'sha256', DIGEST);
    const other = createHash('sha256').update('another message').digest();
    assert.equal(isRsaSignature(publicKey, 'sha256', other, signature), false);
    assert.equal(isRsaSignature(publicKey, 'sha512', DIGEST, signature), false);
    const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey;
    assert.equal(isRsaSignature(stranger, 'sha256', DIGEST, signature), false);
    const curve = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey;
    assert.equal(isRsaSignature(curve, 'sha256', DIGEST, signature), false);
  });

  it('does not hold with any byte changed', () => {
    const signature = signRsaDigest(privateKey, 'sha256', DIGEST);
    for (let at = 0; at < signature.length; at++) {
      const changed = Buffer.from(signature);
      changed[at] = (changed[at] ?? 0) ^ 0x01;
      assert.equal(isRsaSignature(publicKey, 'sha256', DIGEST, changed), false, `byte ${at}`);
    }
  });

  it('has as many bytes as the modulus, even where the first is zero', () => {
    let digest = DIGEST;
    let signature = signRsaDigest(privateKey, 'sha256', digest);
    while (signature[0] !== 0) {
      digest = createHash('sha256').update(digest).digest();
      signature = signRsaDigest(privateKey, 'sha256', digest);
    }
    assert.equal(isRsaSignature(publicKey, 'sha256', digest, signature), true);
    for (const wrong of [signature.subarray(1), Buffer.concat([Uint8Array.of(0), signature])]) {
      assert.equal(isRsaSignature(publicKey, 'sha256', digest, wrong), false, `${wrong.length} bytes`);
    }
  });

  const octets = der(TAG.octetString, DIGEST);
  const info = digestInfo('sha256', DIGEST);
  const forgeries: Readonly<Record<string, Uint8Array>> = {
    'a bare digest': DIGEST,
    'an algorithm without its NULL': derSequence(derSequence(derOid(OID.sha256)), octets),
    'bytes after the DigestInfo (Bleichenbacher 2006)': Buffer.concat([info, Buffer.alloc(100)]),
    'bytes hidden in the parameters': derSequence(
      derSequence(derOid(OID.sha256), der(TAG.octetString, Buffer.alloc(50))),
      octets,
    ),
    'bytes hidden after the digest': derSequence(
      derSequence(derOid(OID.sha256), der(TAG.null)),
      octets,
      der(TAG.null),
    ),
    nothing: new Uint8Array(),
  };
  for (const [name, payload] of Object.entries(forgeries)) {
    it(`does not hold over ${name}`, () =>
      assert.equal(isRsaSignature(publicKey, 'sha256', DIGEST, over(payload)), false));
  }

  it('does not hold with other padding, nor for no signature at all', () => {
    const pss = sign('sha256', MESSAGE, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING });
    const raw = Buffer.concat([Buffer.alloc(256 - info.length), info]);
    const unpadded = privateEncrypt({ key: privateKey, padding: constants.RSA_NO_PADDING }, raw);
    for (const wrong of [pss, unpadded, Buffer.alloc(256), Buffer.alloc(256, 0xff), Buffer.alloc(0)]) {
      assert.equal(isRsaSignature(publicKey, 'sha256', DIGEST, wrong), false);
    }
  });
});
