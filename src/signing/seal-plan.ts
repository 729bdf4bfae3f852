import { verify as verifySignature } from 'node:crypto';
import type { Answer, Question } from '../files/measurer.ts';
import { decodeDetachedCms, encodeDetachedCms, type SignedData } from '../formats/asn1/cms.ts';
import { signatureByOid } from '../formats/asn1/oids.ts';
import { isRsaSignature } from '../formats/asn1/pkcs1.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import type { OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import {
  decodeDetachedOpenpgp,
  documentSignatureFields,
  grubKeyId,
  hasLeft16,
  type OpenpgpSignature,
  signatureTrailer,
} from '../formats/openpgp/openpgp-signature.ts';
import { isSignature } from './signers/digest-signer.ts';

/**
 * How one seal comes about: what must be asked of the content, and what becomes of the answers. An existing
 * seal by the wanted key that still holds is kept byte for byte. No private key is needed to make a plan.
 */
export interface SealPlan {
  readonly questions: readonly Question[];
  /** Known before any answer: no seal stands there that could be kept. */
  readonly lacking: boolean;
  /** Undefined: the existing seal holds. */
  finish(answers: readonly Answer[]): UnsignedSeal | undefined;
}

/** A seal that lacks nothing but a signature over `digest`. */
export type UnsignedSeal =
  | { readonly form: 'cms'; readonly hash: 'sha256'; readonly digest: Uint8Array }
  | {
      readonly form: 'openpgp';
      readonly hash: 'sha512';
      readonly digest: Uint8Array;
      /** The signature's hashed fields, of which `digest` knows already. */
      readonly hashed: Uint8Array;
    };

/** A CMS seal: the signer's certificate stands inside where `chain` names it, and otherwise only its name. */
export function cmsSeal(
  { issuer, serialNumber, key }: Certificate,
  chain: readonly Uint8Array[],
  signature: Uint8Array,
): Uint8Array {
  const kind = key.type === 'rsa' ? 'rsa' : 'ec';
  return encodeDetachedCms({ issuer, serialNumber, hash: 'sha256', key: kind, signature }, chain);
}

/**
 * A CMS seal with SHA-256.
 *
 * @param wanted the certificate of an existing seal's signer, where it is one that this seal should have.
 */
export function planCms(
  existing: Uint8Array | undefined,
  wanted: (data: SignedData) => Certificate | undefined,
): SealPlan {
  const data = existing && tolerate(() => decodeDetachedCms(existing));
  const certificate = data && wanted(data);
  const old = data?.signers.length === 1 ? data.signers[0] : undefined;
  const kept = old?.hash === 'sha256' && certificate !== undefined ? { old, certificate } : undefined;
  return {
    questions: [{ kind: 'digest', hash: 'sha256' }],
    lacking: !kept,
    finish([answer]) {
      const digest = answer as Uint8Array;
      const holds = kept && isSignature(kept.certificate.key.object, 'sha256', digest, kept.old.signature);
      return holds ? undefined : { form: 'cms', hash: 'sha256', digest };
    },
  };
}

/** True when `issuer` signed `certificate`. A property of bytes; who may be an issuer is `trust/`'s to say. */
export function isIssuedBy(certificate: Certificate, issuer: Certificate): boolean {
  const algorithm = signatureByOid(certificate.signatureAlgorithm);
  return (
    algorithm?.key === issuer.key.type &&
    Buffer.compare(certificate.issuer, issuer.subject) === 0 &&
    verifySignature(algorithm.hash, certificate.tbs, issuer.key.object, certificate.signature)
  );
}

/**
 * An OpenPGP seal: SHA-512, by an RSA key.
 *
 * @param issued milliseconds since 1970; the time a new signature states.
 */
export function planOpenpgp(existing: Uint8Array | undefined, key: OpenpgpKey, issued: number): SealPlan {
  const old = existing && usableByGrub(existing, key);
  // GnuPG takes no signature that is older than its key, and `issued` may be: SOURCE_DATE_EPOCH, new keys.
  const fields = documentSignatureFields(key.fingerprint, Math.max(issued, key.created));
  const ask = (hashed: Uint8Array): Question => ({
    kind: 'digest',
    hash: 'sha512',
    suffix: signatureTrailer(hashed),
  });
  return {
    questions: old ? [ask(fields), ask(old.hashed)] : [ask(fields)],
    lacking: !old,
    finish([forNew, forOld]) {
      const mpi = old?.mpis[0];
      if (
        old &&
        forOld &&
        mpi &&
        key.object &&
        hasLeft16(old, forOld as Uint8Array) &&
        isRsaSignature(key.object, 'sha512', forOld as Uint8Array, padded(mpi, key))
      ) {
        return undefined;
      }
      return { form: 'openpgp', hash: 'sha512', digest: forNew as Uint8Array, hashed: fields };
    },
  };
}

/** The one signature of a file, when it is of our making: ours by issuer, SHA-512, key id unhashed for GRUB. */
function usableByGrub(bytes: Uint8Array, key: OpenpgpKey): OpenpgpSignature | undefined {
  const [signature, second] = tolerate(() => decodeDetachedOpenpgp(bytes)) ?? [];
  if (!signature || second || signature.type !== 0 || signature.hash !== 'sha512') return undefined;
  if ((signature.created ?? 0) < key.created) return undefined;
  const ours = grubKeyId(signature) === key.keyId && signature.issuerFingerprint === key.fingerprint;
  return ours ? signature : undefined;
}

/** An MPI has no leading zeros; RSA wants as many bytes as the modulus has. */
export function padded(mpi: Uint8Array, key: OpenpgpKey): Uint8Array {
  const octets = Math.ceil(key.bits / 8);
  return Buffer.concat([Buffer.alloc(Math.max(0, octets - mpi.length)), mpi]);
}

/** What cannot be decoded is not kept; that is all there is to say about it here. */
function tolerate<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}
