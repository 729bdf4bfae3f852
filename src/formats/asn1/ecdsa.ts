import type { KeyObject } from 'node:crypto';
import { type ECDSA, ecdsa, weierstrass } from '@noble/curves/abstract/weierstrass.js';
import { sha256 } from '@noble/hashes/sha2.js';

/**
 * ECDSA on P-256 (FIPS 186-5 §6) from and against a finished digest, which node:crypto cannot do.
 *
 * Signatures are DER (RFC 3279 §2.2.3) and, by RFC 6979, a function of key and digest: sealing twice gives the
 * same bytes. S is left as it comes out: OpenSSL's verifiers take both halves, and so do ours.
 */

/** NIST P-256 (SP 800-186 §3.2.1.3), written down here: the library's own list of curves makes all of them at once. */
const P256 = {
  p: 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn,
  n: 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  h: 1n,
  a: 0xffffffff00000001000000000000000000000000fffffffffffffffffffffffcn,
  b: 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
  Gx: 0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
  Gy: 0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
};

let made: ECDSA | undefined;

/** Made for who has such a key: most sites have RSA alone. */
function p256(): ECDSA {
  made ??= ecdsa(weierstrass(P256), sha256);
  return made;
}

const RULES = { prehash: false, lowS: false, format: 'der' } as const;

/** Signs a digest of 32 bytes or more; its leftmost 256 bits count. */
export function signEcdsaDigest(privateKey: KeyObject, digest: Uint8Array): Uint8Array {
  const { d = '' } = privateKey.export({ format: 'jwk' });
  return p256().sign(digest, Buffer.from(d, 'base64url'), RULES);
}

/** True when `signature` (DER) is over `digest` by `publicKey`. Never throws. */
export function isEcdsaSignature(publicKey: KeyObject, digest: Uint8Array, signature: Uint8Array): boolean {
  const { crv, x = '', y = '' } = publicKey.export({ format: 'jwk' });
  if (crv !== 'P-256') return false;
  const point = Buffer.concat([Uint8Array.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  try {
    return p256().verify(signature, digest, point, RULES);
  } catch {
    // Not DER, or numbers outside the group.
    return false;
  }
}
