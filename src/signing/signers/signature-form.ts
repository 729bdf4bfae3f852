import type { KeyObject } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { Refusal } from '../../errors/refusal.ts';
import { derSequence, derUnsigned, openDer, TAG, unsignedInteger } from '../../formats/asn1/der.ts';
import type { HashName } from '../../formats/asn1/oids.ts';
import type { SignatureNumbers } from '../../formats/net/signd.ts';

/** What can be asked for a signature over a finished digest, and whether an answer has the form of one. */

/** Bytes; an RSA key of 16384 bits makes half of it. */
export const MAX_SIGNATURE = 4096;

/** @throws Refusal `unsafe-keys` for a key that cannot sign a finished digest, or that nothing here verifies. */
export function demandKeyKind(name: string, publicKey: KeyObject): void {
  const { asymmetricKeyType, asymmetricKeyDetails } = publicKey;
  if (asymmetricKeyType === 'rsa') return;
  if (asymmetricKeyType === 'ec' && asymmetricKeyDetails?.namedCurve === 'prime256v1') return;
  throw new Refusal(
    'unsafe-keys',
    `${name} would sign for a key that is neither RSA nor ECDSA on P-256; make one of these.`,
    { signer: name },
  );
}

/** @throws Refusal `weak-algorithm` for any hash but SHA-256 and SHA-512: a key elsewhere signs with no other. */
export function demandHash(name: string, hash: HashName): 'sha256' | 'sha512' {
  if (hash === 'sha256' || hash === 'sha512') return hash;
  throw new Refusal('weak-algorithm', `${name} is asked for signatures with SHA-256 and SHA-512 only.`, {
    signer: name,
    hash,
  });
}

/** Bytes of an RSA signature by this key. */
function modulusOctets(publicKey: KeyObject): number {
  return Math.ceil((publicKey.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
}

/**
 * The signature whose numbers somebody gives without their leading zeros, which belong to an RSA signature (RFC 8017
 * §4.1).
 *
 * @throws Malformed for the numbers of another kind of key.
 */
export function encodeNumbers(publicKey: KeyObject, signature: SignatureNumbers): Uint8Array {
  const rsa = publicKey.asymmetricKeyType === 'rsa';
  if (rsa !== (signature.kind === 'rsa')) {
    throw new Malformed('signature', 'a signature by another kind of key');
  }
  if (signature.kind === 'ecdsa') return derSequence(derUnsigned(signature.r), derUnsigned(signature.s));
  const missing = Math.max(0, modulusOctets(publicKey) - signature.s.length);
  return Buffer.concat([Buffer.alloc(missing), signature.s]);
}

/**
 * Refuses an answer that cannot be a signature by `publicKey`, saying what it looks like. Whether it is one,
 * `demandSignature` asks.
 *
 * @throws Refusal `malformed`
 */
export function demandForm(name: string, publicKey: KeyObject, answer: Uint8Array): void {
  const refuse = (fact: string) => {
    const text = /^[\x20-\x7e\r\n]*$/.test(Buffer.from(answer).toString('latin1'));
    const hint = text ? '; that is text, and raw bytes are wanted (base64 -d, xxd -r -p)' : '';
    return new Refusal('malformed', `${name} ${fact}${hint}.`, { signer: name, bytes: answer.length });
  };
  if (publicKey.asymmetricKeyType === 'rsa') {
    const wanted = modulusOctets(publicKey);
    if (answer.length === wanted) return;
    throw refuse(`answered with ${answer.length} bytes, and an RSA signature by its key has ${wanted}`);
  }
  try {
    // ECDSA-Sig-Value (RFC 3279 §2.2.3).
    const numbers = openDer(answer, TAG.sequence, 'ECDSA-Sig-Value');
    for (const what of ['r', 's']) unsignedInteger(numbers.next(TAG.integer), what);
    numbers.end();
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw refuse(`answered with ${answer.length} bytes that are no ECDSA signature in DER`);
  }
}
