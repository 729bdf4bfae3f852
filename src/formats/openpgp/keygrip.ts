import { createHash, type KeyObject } from 'node:crypto';

/**
 * How gpg-agent calls a key, whether an OpenPGP certificate or one of X.509 has its public half: a SHA-1 over the
 * numbers of the public key as libgcrypt writes them (`_gcry_pk_get_keygrip`; `rsa.c` and `ecc.c`, `compute_keygrip`).
 * gpg --with-keygrip prints the same, in capitals.
 */

/** NIST P-256 (SP 800-186 §3.2.1.3), in the order in which its numbers are hashed. */
const P256 = {
  p: 'ffffffff00000001000000000000000000000000ffffffffffffffffffffffff',
  a: 'ffffffff00000001000000000000000000000000fffffffffffffffffffffffc',
  b: '5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b',
  g: '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5',
  n: 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
} as const;

/** 40 hex digits in capitals; undefined for a kind of key that Bootseal does not sign with. */
export function keygripOf(publicKey: KeyObject): string | undefined {
  const hash = createHash('sha1');
  if (publicKey.asymmetricKeyType === 'rsa') {
    const modulus = Buffer.from(publicKey.export({ format: 'jwk' }).n ?? '', 'base64url');
    // The modulus as a signed number (GCRYMPI_FMT_STD): a zero in front where its top bit is set. No exponent.
    hash.update(Buffer.alloc((modulus[0] ?? 0) & 0x80 ? 1 : 0)).update(modulus);
  } else if (publicKey.asymmetricKeyDetails?.namedCurve === 'prime256v1') {
    const { x = '', y = '' } = publicKey.export({ format: 'jwk' });
    const point = Buffer.concat([Uint8Array.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
    for (const [name, hex] of Object.entries(P256)) element(name, Buffer.from(hex, 'hex'));
    element('q', point);
  } else return undefined;
  return hash.digest('hex').toUpperCase();

  function element(name: string, octets: Uint8Array): void {
    hash.update(`(1:${name}${octets.length}:`).update(octets).update(')');
  }
}
