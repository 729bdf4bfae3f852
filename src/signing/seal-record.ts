import { bytesContent } from '../files/measure.ts';
import { encodeSignature, signatureTrailer } from '../formats/openpgp/openpgp-signature.ts';
import { cmsSeal, planCms, planOpenpgp, type SealPlan } from './seal-plan.ts';
import type { CertifiedSigner, OpenpgpSigner } from './signatories.ts';
import { demandSignature } from './signers/digest-signer.ts';

/** A detached CMS seal over a small record. */
export async function sealRecord(
  bytes: Uint8Array,
  { certificate, signer }: CertifiedSigner,
  chain: readonly Uint8Array[] = [],
): Promise<Uint8Array> {
  const { hash, digest } = await unsigned(
    bytes,
    planCms(undefined, () => undefined),
  );
  return cmsSeal(certificate, chain, await demandSignature(signer, hash, digest, bytes));
}

/** A detached OpenPGP signature over a small record. */
export async function sealRecordOpenpgp(
  bytes: Uint8Array,
  { key, signer }: OpenpgpSigner,
  issued: number,
): Promise<Uint8Array> {
  const seal = await unsigned(bytes, planOpenpgp(undefined, key, issued));
  if (seal.form !== 'openpgp') throw new RangeError('not an OpenPGP seal');
  const message = Buffer.concat([bytes, signatureTrailer(seal.hashed)]);
  const signature = await demandSignature(signer, seal.hash, seal.digest, message);
  return encodeSignature(seal.hashed, key.keyId, seal.digest, signature);
}

async function unsigned(bytes: Uint8Array, plan: SealPlan) {
  const { answers } = await bytesContent(bytes).measure(plan.questions);
  const seal = plan.finish(answers);
  if (!seal) throw new RangeError('a record without a seal has one');
  return seal;
}
