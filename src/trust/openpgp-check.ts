import {
  decodeDetachedOpenpgp,
  type OpenpgpSignature,
  signatureTrailer,
} from '../formats/openpgp-signature.ts';
import { Refusal } from '../release/refusal.ts';
import { type Check, decodeOr, prepare } from './check.ts';
import {
  isOpenpgpSignature,
  type OpenpgpCertificate,
  type SigningKey,
  unknownCritical,
} from './openpgp-certificate.ts';
import { demandStrong, type Policy } from './policy.ts';
import { demandWithin } from './validity.ts';

/** A detached OpenPGP signature may be dated a little ahead of a slow clock. */
const SKEW = 24 * 3_600_000;

/**
 * A detached OpenPGP seal. Every signature in the file must be by a known key and hold, as gpgv demands;
 * what GnuPG would report as anything but GOODSIG (expired or revoked key, expired signature) is refused.
 *
 * @param what names the seal in refusals: `airootfs.sfs.sig`.
 */
export function openpgpCheck(
  what: string,
  bytes: Uint8Array,
  certificates: readonly OpenpgpCertificate[],
  policy: Policy,
  now: number,
): Check {
  return prepare('openpgp', () => {
    // 1. Signature packets and nothing else: an opaque message would bring its own content along.
    const signatures = decodeOr(what, () => decodeDetachedOpenpgp(bytes));
    // 2. Each is over a binary document, and says nothing critical that we do not understand.
    for (const signature of signatures) {
      if (signature.type !== 0) {
        throw new Refusal('wrong-purpose', `${what} is no document signature (type ${signature.type}).`, {});
      }
      if (unknownCritical(signature)) {
        throw new Refusal('malformed', `${what} holds a critical subpacket that is not known.`, {});
      }
    }
    // 3. Each signer is known, and counted once.
    const signed = signatures.map((signature) => ({
      signature,
      signer: findSigner(what, signature, certificates),
    }));
    const fingerprints = signed.map(({ signer }) => signer.key.fingerprint);
    if (new Set(fingerprints).size !== fingerprints.length) {
      throw new Refusal('malformed', `${what} is signed twice by one key.`, { signer: fingerprints[0] });
    }
    return {
      name: 'openpgp',
      questions: signatures.map(({ hash, hashed }) => ({
        kind: 'digest',
        hash,
        suffix: signatureTrailer(hashed),
      })),
      conclude(answers) {
        for (const [index, { signature, signer }] of signed.entries()) {
          const { key } = signer;
          // 4. Hash and key are good enough today.
          demandStrong(policy, what, signature.hash, key);
          if (!key.object) {
            throw new Refusal('weak-algorithm', `${what} is by a ${key.type} key, which is not accepted.`, {
              key: key.type,
            });
          }
          // 5. The signature is over this content.
          const digest = answers[index];
          if (!(digest instanceof Uint8Array) || !isOpenpgpSignature(key, signature, digest)) {
            throw new Refusal('bad-signature', `${what} does not match: the file or its seal was changed.`, {
              signer: key.fingerprint,
            });
          }
          // 6. The key may sign, is not revoked, and lives.
          demandUsable(what, signer, now);
          // 7. The signature itself is in its time.
          const created = signature.created ?? 0;
          const ends = signature.expiresAfter
            ? created + signature.expiresAfter * 1000
            : Number.MAX_SAFE_INTEGER;
          demandWithin(`The signature ${what}`, created - SKEW, Math.min(ends, 8.64e15), now);
        }
        return { check: 'openpgp', signer: fingerprints[0] ?? '', signed: true };
      },
    };
  });
}

function demandUsable(what: string, signer: SigningKey, now: number): void {
  const { key, expires, revoked, maySign } = signer;
  const short = key.fingerprint.slice(-16);
  if (revoked)
    throw new Refusal('revoked', `${what} is by the key ${short}, which is revoked.`, {
      signer: key.fingerprint,
    });
  if (!maySign) {
    throw new Refusal(
      'wrong-purpose',
      `${what} is by the key ${short}, which has no valid self-signature that lets it sign.`,
      {
        signer: key.fingerprint,
      },
    );
  }
  demandWithin(`The key ${short}`, key.created, expires ?? 8.64e15, now);
}

/** By fingerprint where the signature names one, else by key id. Both are hints; step 5 decides. */
function findSigner(
  what: string,
  signature: OpenpgpSignature,
  certificates: readonly OpenpgpCertificate[],
): SigningKey {
  const { issuerFingerprint, issuerKeyId } = signature;
  for (const { keys } of certificates) {
    for (const signer of keys) {
      if (
        issuerFingerprint ? signer.key.fingerprint === issuerFingerprint : signer.key.keyId === issuerKeyId
      ) {
        return signer;
      }
    }
  }
  const wanted = issuerFingerprint ?? issuerKeyId ?? 'an unnamed key';
  throw new Refusal('untrusted-signer', `${what} is by ${wanted}, which is not in the keyring.`, {
    signer: wanted,
  });
}
