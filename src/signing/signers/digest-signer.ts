import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { Refusal } from '../../errors/refusal.ts';
import { isEcdsaSignature, signEcdsaDigest } from '../../formats/asn1/ecdsa.ts';
import type { HashName } from '../../formats/asn1/oids.ts';
import { isRsaSignature, signRsaDigest, signRsaMessage } from '../../formats/asn1/pkcs1.ts';

/** One private key, wherever it is: it signs finished digests, and nothing else is asked of it. */
export interface DigestSigner {
  /** What its answers are checked against. */
  readonly publicKey: KeyObject;
  /** For messages, without secrets: `private/codesign.key`, `pkcs11:token=site;object=codesign`. */
  readonly name: string;
  /** A key in this process's memory: whether it can be asked is not a question. */
  readonly atHand?: true;
  /**
   * RSA: RSASSA-PKCS1-v1_5, as many bytes as the modulus has. P-256: DER.
   *
   * @throws Refusal `unreachable` where nobody answers in time, `bad-signature` or `malformed` for what is none.
   */
  sign(hash: HashName, digest: Uint8Array): Promise<Uint8Array>;
  /** The same signature from a message whose digest that is, made beside other work; absent where only digests are signed. */
  signMessage?(hash: HashName, message: Uint8Array): Promise<Uint8Array>;
}

/** A signer over a key at hand: RSA, or ECDSA on P-256. */
export function keySigner(privateKey: KeyObject, name: string): DigestSigner {
  const rsa = privateKey.asymmetricKeyType === 'rsa';
  return {
    publicKey: createPublicKey(privateKey),
    name,
    atHand: true,
    sign: async (hash, digest) =>
      rsa ? signRsaDigest(privateKey, hash, digest) : signEcdsaDigest(privateKey, digest),
    ...(rsa ? { signMessage: (hash, message) => signRsaMessage(privateKey, hash, message) } : {}),
  };
}

/** True when `signature` is over `digest` by `publicKey`. */
export function isSignature(
  publicKey: KeyObject,
  hash: HashName,
  digest: Uint8Array,
  signature: Uint8Array,
): boolean {
  return publicKey.asymmetricKeyType === 'rsa'
    ? isRsaSignature(publicKey, hash, digest, signature)
    : isEcdsaSignature(publicKey, digest, signature);
}

/**
 * Asks for a signature and takes none that does not hold: a device may hold another key under the same name,
 * and a faulty RSA computation gives the key away (Boneh, DeMillo, Lipton 1997).
 *
 * @param message what the digest is of, where that is at hand: some signers sign it beside other work.
 * @throws Refusal `bad-signature`, or what the signer throws.
 */
export async function demandSignature(
  signer: DigestSigner,
  hash: HashName,
  digest: Uint8Array,
  message?: Uint8Array,
): Promise<Uint8Array> {
  const signature =
    message && signer.signMessage ? await signer.signMessage(hash, message) : await signer.sign(hash, digest);
  if (isSignature(signer.publicKey, hash, digest, signature)) return signature;
  throw new Refusal(
    'bad-signature',
    `${signer.name} gave an answer that is not a signature by its key; it may hold another key under that name.`,
    { signer: signer.name },
  );
}

/**
 * One signature nobody uses, before a long batch: agents forget passphrases and tokens are pulled out, and an
 * hour of hashing should not find that out.
 */
export async function tryOut(signer: DigestSigner, hash: HashName): Promise<void> {
  if (signer.atHand) return;
  const digest = createHash(hash).update('bootseal: a trial signature, over nothing\n').digest();
  await demandSignature(signer, hash, digest);
}
