import { constants, type KeyObject, privateEncrypt, publicDecrypt, sign, timingSafeEqual } from 'node:crypto';
import { der, derNull, derOid, derSequence, TAG } from './der.ts';
import { type HashName, hashOid } from './oids.ts';

/**
 * RSASSA-PKCS1-v1_5 (RFC 8017 §8.2) from and against a finished digest.
 *
 * node:crypto signs and verifies whole messages; a root image is hashed once for every seal, so the
 * signature must start at the digest. The raw RSA operation is OpenSSL's, the padding too.
 */

/** DigestInfo (RFC 8017 §9.2, note 1): algorithm identifier with NULL parameters, then the digest. */
export function digestInfo(hash: HashName, digest: Uint8Array): Uint8Array {
  return derSequence(derSequence(derOid(hashOid(hash)), derNull()), der(TAG.octetString, digest));
}

/** Signs `digest` with an RSA private key. Deterministic. */
export function signRsaDigest(privateKey: KeyObject, hash: HashName, digest: Uint8Array): Uint8Array {
  return privateEncrypt({ key: privateKey, padding: constants.RSA_PKCS1_PADDING }, digestInfo(hash, digest));
}

/** The same signature from a whole message, on another thread: whoever signs many scripts does the rest meanwhile. */
export function signRsaMessage(
  privateKey: KeyObject,
  hash: HashName,
  message: Uint8Array,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    sign(hash, message, { key: privateKey, padding: constants.RSA_PKCS1_PADDING }, (error, signature) => {
      if (error) reject(error);
      else resolve(signature);
    });
  });
}

/**
 * True when `signature` is RSASSA-PKCS1-v1_5 over `digest` by `publicKey`.
 *
 * The whole recovered DigestInfo is compared with the one expected form: parsing it leniently is how
 * Bleichenbacher's signature forgery (2006) got in.
 */
export function isRsaSignature(
  publicKey: KeyObject,
  hash: HashName,
  digest: Uint8Array,
  signature: Uint8Array,
): boolean {
  // RFC 8017 §8.2.2, step 1. OpenSSL's raw operation takes a shorter number too; its verifiers do not.
  const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
  if (signature.length !== Math.ceil(bits / 8)) return false;
  let recovered: Uint8Array;
  try {
    recovered = publicDecrypt({ key: publicKey, padding: constants.RSA_PKCS1_PADDING }, signature);
  } catch {
    // Wrong padding or a number above the modulus: not a signature by this key.
    return false;
  }
  const expected = digestInfo(hash, digest);
  return recovered.length === expected.length && timingSafeEqual(recovered, expected);
}
