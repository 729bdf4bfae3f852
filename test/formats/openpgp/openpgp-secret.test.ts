import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { describe, it } from 'node:test';
import { encodeRsaKey } from '../../../src/formats/openpgp/openpgp-key.ts';
import { encodeMpi } from '../../../src/formats/openpgp/openpgp-packet.ts';
import {
  decodeOpenpgpSecretKey,
  encodeOpenpgpSecretKey,
  type RsaSecret,
} from '../../../src/formats/openpgp/openpgp-secret.ts';
import { demandCutsRefused, demandFlipsHandled, demandNothingAfter, malformed } from '../strict.ts';

const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
const { n = '', e = '', d = '', p = '', q = '', qi = '' } = privateKey.export({ format: 'jwk' });
const octets = (text: string): Buffer => Buffer.from(text, 'base64url');
const PUBLIC = encodeRsaKey(Date.UTC(2026, 9, 31), octets(n), octets(e));

/** With p and q as OpenPGP wants them: its u is the inverse of the first modulo the second. */
function secret(numbers = [d, q, p, qi].map(octets), usage = 0): Buffer {
  const mpis = Buffer.concat(numbers.map((one) => encodeMpi(one)));
  const sum = mpis.reduce((total, octet) => (total + octet) % 65_536, 0);
  return Buffer.concat([PUBLIC, Uint8Array.of(usage), mpis, Uint8Array.of(sum >> 8, sum & 0xff)]);
}

describe('an OpenPGP secret key', () => {
  it('of RSA gives its numbers, and the public key that belongs to it', () => {
    const key = decodeOpenpgpSecretKey(secret());
    assert.deepEqual(Buffer.from(key?.publicBody ?? []), PUBLIC);
    const numbers = Object.fromEntries(
      Object.entries(key?.rsa ?? {}).map(([name, value]) => [name, Buffer.from(value).toString('base64url')]),
    );
    assert.deepEqual(numbers, { n, e, d, p: q, q: p, u: qi });
  });

  it('is encoded as it is decoded', () => {
    const [numbers] = [{ n, e, d, p: q, q: p, u: qi }].map((texts) =>
      Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, octets(text)])),
    );
    const body = encodeOpenpgpSecretKey(Date.UTC(2026, 9, 31), numbers as unknown as RsaSecret);
    assert.deepEqual(Buffer.from(body), secret());
    assert.deepEqual(Buffer.from(decodeOpenpgpSecretKey(body)?.publicBody ?? []), PUBLIC);
  });

  it('under a passphrase, or elsewhere, has none', () => {
    for (const usage of [0xff, 0xfe, 0xfd, 9]) {
      const key = decodeOpenpgpSecretKey(Buffer.concat([PUBLIC, Uint8Array.of(usage, 9, 3, 8)]));
      assert.deepEqual(Buffer.from(key?.publicBody ?? []), PUBLIC);
      assert.equal(key?.rsa, undefined);
    }
  });

  it('of another algorithm is none of ours', () => {
    const other = Buffer.from(secret());
    other[5] = 22;
    assert.equal(decodeOpenpgpSecretKey(other), undefined);
  });

  it('is refused with a wrong checksum, or numbers that do not belong together', () => {
    const wrong = Buffer.from(secret());
    wrong[wrong.length - 1] = (wrong.at(-1) ?? 0) ^ 1;
    assert.throws(() => decodeOpenpgpSecretKey(wrong), malformed(/the checksum of a secret key/));
    for (const numbers of [
      [d, p, p, qi],
      [d, n, 'AQ', qi],
      [d, 'AQ', n, qi],
      [d, '', n, qi],
    ]) {
      const bytes = secret(numbers.map(octets));
      assert.throws(() => decodeOpenpgpSecretKey(bytes), malformed(/do not belong together/));
    }
  });

  it('is read strictly', () => {
    demandCutsRefused(decodeOpenpgpSecretKey, secret());
    demandNothingAfter(decodeOpenpgpSecretKey, secret());
    // All but those of its time, its exponent, and what says that it is another kind of key.
    assert.ok(demandFlipsHandled(decodeOpenpgpSecretKey, secret()) > 4 * (secret().length - 12));
    const third = Buffer.from(secret());
    third[0] = 3;
    assert.throws(() => decodeOpenpgpSecretKey(third), malformed(/key version 3, not 4/));
  });
});
