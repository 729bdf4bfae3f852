import { createHash, verify as verifySignature } from 'node:crypto';
import { isRsaSignature } from '../formats/asn1/pkcs1.ts';
import type { OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import { type OpenpgpSignature, signatureTrailer } from '../formats/openpgp/openpgp-signature.ts';

/** The arithmetic of OpenPGP signatures: what they cover, and whether they hold. */

/** What a certification (0x10–0x13) or its revocation (0x30) hashes before its own fields: 0xd1 for attributes. */
export function certificationInput(
  primaryInput: Uint8Array,
  name: Uint8Array,
  kind: 0xb4 | 0xd1 = 0xb4,
): Uint8Array {
  const header = Buffer.alloc(5);
  header[0] = kind;
  header.writeUInt32BE(name.length, 1);
  return Buffer.concat([primaryInput, header, name]);
}

/**
 * A signature over `context`, whatever its hash. That is enough for a revocation: whoever could forge one
 * takes a key away, and adds none.
 */
export function isOver(key: OpenpgpKey, context: Uint8Array, signature: OpenpgpSignature): boolean {
  const hash = createHash(signature.hash).update(context).update(signatureTrailer(signature.hashed));
  return isOpenpgpSignature(key, signature, hash.digest());
}

/** Subpackets that this verifier understands (RFC 9580 §5.2.3.7). */
const KNOWN = new Set([
  2, 3, 4, 7, 9, 11, 16, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 39,
]);

/** True when the signature says something critical that we do not understand. */
export function unknownCritical(signature: OpenpgpSignature): boolean {
  return signature.subpackets.some(({ critical, type }) => critical && !KNOWN.has(type));
}

/** Whether `signature` is by `key` over `digest` (of content and trailer). RSA and Ed25519. */
export function isOpenpgpSignature(
  key: OpenpgpKey,
  signature: OpenpgpSignature,
  digest: Uint8Array,
): boolean {
  const [first, second] = signature.mpis;
  if (!key.object || !first || !canVerify(key, signature)) return false;
  if (key.type === 'rsa') {
    return isRsaSignature(key.object, signature.hash, digest, pad(first, Math.ceil(key.bits / 8)));
  }
  if (key.type === 'ed25519') {
    const raw =
      signature.algorithm === 27 ? first : second && Buffer.concat([pad(first, 32), pad(second, 32)]);
    return raw?.length === 64 && verifySignature(null, digest, key.object, raw);
  }
  return false;
}

/** Whether a signature is of an algorithm that `key` can be asked about. That it holds is another question. */
export function canVerify(
  { object, type, algorithm: own }: OpenpgpKey,
  { algorithm }: OpenpgpSignature,
): boolean {
  if (!object) return false;
  return type === 'rsa' ? algorithm === 1 || algorithm === 3 : algorithm === own;
}

/** MPIs lose their leading zeros; RSA and Ed25519 want every byte. */
function pad(mpi: Uint8Array, octets: number): Uint8Array {
  return Buffer.concat([Buffer.alloc(Math.max(0, octets - mpi.length)), mpi]);
}
