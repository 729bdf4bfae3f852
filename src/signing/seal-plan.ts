import { verify as verifySignature } from 'node:crypto';
import { decodeDetachedCms, encodeDetachedCms, type SignedData } from '../formats/cms.ts';
import { signatureByOid } from '../formats/oids.ts';
import {
  decodeDetachedOpenpgp,
  documentSignatureFields,
  encodeSignature,
  grubKeyId,
  hasLeft16,
  type OpenpgpSignature,
  signatureTrailer,
} from '../formats/openpgp-signature.ts';
import { isRsaSignature, signRsaDigest } from '../formats/pkcs1.ts';
import type { Certificate } from '../formats/x509.ts';
import type { Answer, Question } from '../release/measurer.ts';
import type { OpenpgpSecret } from './openpgp-keys.ts';
import type { CmsSigner } from './signer.ts';

/**
 * How one seal comes about: what must be asked of the content, and what becomes of the answers. An existing
 * seal by the wanted key that still holds is kept byte for byte.
 */
export interface SealPlan {
  readonly questions: readonly Question[];
  /** Undefined: the existing seal holds. */
  finish(answers: readonly Answer[]): Promise<Uint8Array | undefined>;
}

/**
 * A CMS seal.
 *
 * @param signer made when it is needed: a release leaf whose seals all hold is not minted again.
 * @param wanted whether an existing seal's signer is the one that this seal should have.
 */
export function planCms(
  existing: Uint8Array | undefined,
  signer: () => Promise<CmsSigner>,
  question: Question,
  wanted: (data: SignedData) => Certificate | undefined,
): SealPlan {
  const data = existing && tolerate(() => decodeDetachedCms(existing));
  const certificate = data && wanted(data);
  const old = data?.signers.length === 1 ? data.signers[0] : undefined;
  const check: Question | undefined =
    old && certificate && old.hash === 'sha256'
      ? old.key === 'rsa'
        ? { kind: 'digest', hash: 'sha256' }
        : {
            kind: 'ecdsa-verify',
            hash: 'sha256',
            publicKey: certificate.key.object.export({ format: 'pem', type: 'spki' }).toString(),
            signature: old.signature,
          }
      : undefined;
  return {
    questions: check ? [question, check] : [question],
    async finish([forNew, forOld]) {
      if (old && certificate && forOld !== undefined) {
        const holds =
          typeof forOld === 'boolean'
            ? forOld
            : certificate.key.type === 'rsa' &&
              isRsaSignature(certificate.key.object, 'sha256', forOld, old.signature);
        if (holds) return undefined;
      }
      const made = await signer();
      return encodeDetachedCms(await made.sign(forNew as Answer), made.chain);
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
export function planOpenpgp(
  existing: Uint8Array | undefined,
  secret: OpenpgpSecret,
  issued: number,
): SealPlan {
  const old = existing && usableByGrub(existing, secret);
  // GnuPG takes no signature that is older than its key, and `issued` may be: SOURCE_DATE_EPOCH, new keys.
  const fields = documentSignatureFields(secret.key.fingerprint, Math.max(issued, secret.key.created));
  const ask = (hashed: Uint8Array): Question => ({
    kind: 'digest',
    hash: 'sha512',
    suffix: signatureTrailer(hashed),
  });
  return {
    questions: old ? [ask(fields), ask(old.hashed)] : [ask(fields)],
    async finish([forNew, forOld]) {
      const publicKey = secret.key.object;
      const mpi = old?.mpis[0];
      if (
        old &&
        forOld &&
        mpi &&
        publicKey &&
        hasLeft16(old, forOld as Uint8Array) &&
        isRsaSignature(publicKey, 'sha512', forOld as Uint8Array, padded(mpi, secret))
      ) {
        return undefined;
      }
      const digest = forNew as Uint8Array;
      const signature = signRsaDigest(secret.privateKey, 'sha512', digest);
      return encodeSignature(fields, secret.key.keyId, digest, signature);
    },
  };
}

/** The one signature of a file, when it is of our making: ours by issuer, SHA-512, key id unhashed for GRUB. */
function usableByGrub(bytes: Uint8Array, secret: OpenpgpSecret): OpenpgpSignature | undefined {
  const [signature, second] = tolerate(() => decodeDetachedOpenpgp(bytes)) ?? [];
  if (!signature || second || signature.type !== 0 || signature.hash !== 'sha512') return undefined;
  if ((signature.created ?? 0) < secret.key.created) return undefined;
  const ours =
    grubKeyId(signature) === secret.key.keyId && signature.issuerFingerprint === secret.key.fingerprint;
  return ours ? signature : undefined;
}

/** An MPI has no leading zeros; RSA wants as many octets as the modulus has. */
function padded(mpi: Uint8Array, secret: OpenpgpSecret): Uint8Array {
  const octets = Math.ceil(secret.key.bits / 8);
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
