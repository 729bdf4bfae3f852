import type { KeyObject } from 'node:crypto';

/**
 * A public key by its numbers, to tell whether two are one: a point compressed or not (SEC 1 §2.3), or an RSA key in an
 * OpenPGP packet of another day, is the same key in another dress. The RSA exponent plays no part: who has one key of
 * a modulus has all.
 */
export function keyMaterial(key: KeyObject): string {
  try {
    const { kty, crv = '', n = '', x = '' } = key.export({ format: 'jwk' });
    return [kty, crv, n, x].join(' ');
  } catch {
    // Kinds that JWK does not know, which nothing here signs with.
    return key.export({ format: 'der', type: 'spki' }).toString('base64');
  }
}
