import type { KeyObject } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';

/**
 * ECDSA on P-256 (FIPS 186-5 §6) from and against a finished digest, which node:crypto cannot do.
 *
 * Signatures are DER (RFC 3279 §2.2.3) and, by RFC 6979, a function of key and digest: sealing twice gives the
 * same bytes. S is left as it comes out: OpenSSL's verifiers take both halves, and so do ours.
 */

const RULES = { prehash: false, lowS: false, format: 'der' } as const;

/** Signs a digest of 32 bytes or more; its leftmost 256 bits count. */
export function signEcdsaDigest(privateKey: KeyObject, digest: Uint8Array): Uint8Array {
  const { d = '' } = privateKey.export({ format: 'jwk' });
  return p256.sign(digest, Buffer.from(d, 'base64url'), RULES);
}

/** True when `signature` (DER) is over `digest` by `publicKey`. Never throws. */
export function isEcdsaSignature(publicKey: KeyObject, digest: Uint8Array, signature: Uint8Array): boolean {
  const { crv, x = '', y = '' } = publicKey.export({ format: 'jwk' });
  if (crv !== 'P-256') return false;
  const point = Buffer.concat([Uint8Array.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
  try {
    return p256.verify(signature, digest, point, RULES);
  } catch {
    // Not DER, or numbers outside the group.
    return false;
  }
}
