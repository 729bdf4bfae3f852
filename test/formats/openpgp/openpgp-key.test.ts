import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, it } from 'node:test';
import { decodeOpenpgpKey, encodeRsaKey, keyHashInput } from '../../../src/formats/openpgp/openpgp-key.ts';
import { encodeMpi } from '../../../src/formats/openpgp/openpgp-packet.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(' ', ''), 'hex');

/** RFC 9580 §A.1: body of the sample Ed25519Legacy key. */
const POINT = '3f098994bdd916ed4053197934e4a87c80733a1280d62f8010992e43ee3b2406';
const SAMPLE = bytes(`04 53f35f0b 16 09 2b06010401da470f01 0107 40 ${POINT}`);

const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const { n = '', e = '' } = publicKey.export({ format: 'jwk' });
const CREATED = Date.UTC(2026, 9, 31, 1, 2, 3);
const RSA = encodeRsaKey(CREATED, Buffer.from(n, 'base64url'), Buffer.from(e, 'base64url'));

describe('an OpenPGP key', () => {
  it('is the sample of RFC 9580 §A.1', () => {
    const key = decodeOpenpgpKey(SAMPLE);
    assert.equal(key.fingerprint, 'c959bdbafa32a2f89a153b678cfde12197965a9a');
    assert.equal(key.keyId, '8cfde12197965a9a');
    assert.equal(key.created, Date.parse('2014-08-19T14:28:27Z'));
    assert.deepEqual([key.type, key.bits, key.algorithm], ['ed25519', 256, 22]);
    assert.equal(key.object?.export({ format: 'jwk' }).x, bytes(POINT).toString('base64url'));
  });

  it('of RSA reads back as it was written', () => {
    const key = decodeOpenpgpKey(RSA);
    assert.deepEqual([key.type, key.bits, key.algorithm, key.created], ['rsa', 2048, 1, CREATED]);
    assert.equal(key.object?.equals(publicKey), true);
    assert.equal(key.body, RSA);
    assert.equal(key.keyId, key.fingerprint.slice(24));
  });

  it('has its creation time in whole seconds', () => {
    const octets = Buffer.from(e, 'base64url');
    assert.equal(
      decodeOpenpgpKey(encodeRsaKey(CREATED + 999, Buffer.from(n, 'base64url'), octets)).created,
      CREATED,
    );
  });

  it('is hashed with the header of RFC 9580 §5.5.4', () => {
    assert.deepEqual(keyHashInput(SAMPLE).subarray(0, 4), bytes('99 0033 04'));
    assert.equal(keyHashInput(RSA).length, RSA.length + 3);
  });

  it('is known by its bytes alone, whichever algorithm it has', () => {
    const kinds: readonly [string, Buffer, string, number, boolean][] = [
      [
        'RSA that only signs',
        Buffer.concat([RSA.subarray(0, 5), bytes('03'), RSA.subarray(6)]),
        'rsa',
        2048,
        true,
      ],
      ['Ed25519 of RFC 9580', bytes(`04 53f35f0b 1b ${POINT}`), 'ed25519', 256, true],
      [
        'DSA',
        Buffer.concat([bytes('04 53f35f0b 11'), encodeMpi(Buffer.alloc(128, 0xff)), bytes('0001 01')]),
        'dsa',
        1024,
        false,
      ],
      [
        'ECDSA on P-256',
        bytes(`04 53f35f0b 13 08 2a8648ce3d030107 0203 04 ${POINT}${POINT}`),
        'ecdsa',
        0,
        false,
      ],
      ['EdDSA on another curve', bytes('04 53f35f0b 16 03 2b6571 0007 40'), 'other', 0, false],
      [
        'RSA that only encrypts',
        Buffer.concat([RSA.subarray(0, 5), bytes('02'), RSA.subarray(6)]),
        'other',
        0,
        false,
      ],
      ['something of the future', bytes('04 53f35f0b 63 aabbcc'), 'other', 0, false],
    ];
    for (const [name, body, type, bits, usable] of kinds) {
      const key = decodeOpenpgpKey(body);
      assert.deepEqual([key.type, key.bits, key.object !== undefined], [type, bits, usable], name);
      assert.match(key.fingerprint, /^[0-9a-f]{40}$/);
    }
  });

  it('is refused cut, continued, and never breaks its reader', () => {
    for (const body of [RSA, SAMPLE]) {
      demandCutsRefused(decodeOpenpgpKey, body);
      demandNothingAfter(decodeOpenpgpKey, body);
      assert.ok(demandFlipsHandled(decodeOpenpgpKey, body) > 4);
    }
  });

  const refused: Readonly<Record<string, [Uint8Array, RegExp]>> = {
    'of version 3': [bytes('03 53f35f0b 0000 01'), /version 3, not 4/],
    'of version 6': [bytes('06 53f35f0b 1b 00000020'), /version 6, not 4/],
    'that is over 64 KiB, which its own hash cannot say': [
      Buffer.concat([bytes('04 53f35f0b 63'), Buffer.alloc(65_536)]),
      /key of 65542 bytes/,
    ],
    'whose Ed25519 point lacks its prefix': [
      bytes(`04 53f35f0b 16 09 2b06010401da470f01 0106 20 ${POINT}`),
      /Ed25519 point/,
    ],
    'whose Ed25519 point is short': [bytes('04 53f35f0b 16 09 2b06010401da470f01 0007 40'), /Ed25519 point/],
    'whose number has leading zeros': [bytes('04 53f35f0b 01 0009 00ff 0001 01'), /MPI length/],
  };
  for (const [name, [body, fact]] of Object.entries(refused)) {
    it(`is refused ${name}`, () => assert.throws(() => decodeOpenpgpKey(body), malformed(fact)));
  }
});
