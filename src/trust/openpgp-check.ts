import { Refusal } from '../errors/refusal.ts';
import type { Answer } from '../files/measurer.ts';
import type { OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import {
  decodeDetachedOpenpgp,
  grubKeyId,
  hasLeft16,
  type OpenpgpSignature,
  signatureTrailer,
} from '../formats/openpgp/openpgp-signature.ts';
import { type Check, decodeOr, evidenceOf, pinnedContent, pinQuestions, prepare } from './check.ts';
import type { OpenpgpCertificate, SigningKey } from './openpgp-certificate.ts';
import { isOpenpgpSignature, unknownCritical } from './openpgp-signed.ts';
import { day, demandNotRevoked, demandStrong, type Policy } from './policy.ts';
import { demandWithin } from './validity.ts';

/** A detached OpenPGP signature may be dated a little ahead of a slow clock. */
export const SIGNATURE_SKEW = 24 * 3_600_000;

/**
 * A detached OpenPGP seal. Every signature in the file must be by a known key and hold, as gpgv demands;
 * what GnuPG would report as anything but GOODSIG (expired or revoked key, expired signature) is refused.
 *
 * @param what names the seal in refusals: `airootfs.sfs.sig`.
 * @param reader whose demands are made. GRUB makes all of gpgv's, and looks at fields that no signature covers.
 */
export function openpgpCheck(
  what: string,
  bytes: Uint8Array,
  certificates: readonly OpenpgpCertificate[],
  policy: Policy,
  now: number,
  reader: 'gpgv' | 'grub' = 'gpgv',
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
    // 3. Each signer is known.
    const signed = signatures.map((signature) => ({
      signature,
      candidates: findSigners(what, signature, certificates),
    }));
    return {
      name: 'openpgp',
      questions: [
        ...signatures.map(({ hash, hashed }) => ({
          kind: 'digest' as const,
          hash,
          suffix: signatureTrailer(hashed),
        })),
        ...pinQuestions(policy),
      ],
      beforehand(sha256) {
        judge(undefined, sha256);
      },
      conclude(answers) {
        const remarks = new Set<string>();
        const signers = judge(answers, pinnedContent(answers[signatures.length]), remarks);
        // 8. Each signer is counted once.
        const fingerprints = signers.map(({ key }) => key.fingerprint);
        if (new Set(fingerprints).size !== fingerprints.length) {
          throw new Refusal('malformed', `${what} is signed twice by one key.`, { signer: fingerprints[0] });
        }
        const holder = signers[0]?.primary.fingerprint;
        return {
          ...evidenceOf('openpgp', fingerprints[0] ?? '', remarks),
          ...(holder === undefined ? {} : { holder }),
        };
      },
    };

    /**
     * @param answers undefined: the content is not here, and step 5 is left for when it is.
     * @param content SHA-256, where a pin may speak for it.
     */
    function judge(
      answers: readonly Answer[] | undefined,
      content: string | undefined,
      remarks = new Set<string>(),
    ): Candidate[] {
      return signed.map(({ signature, candidates }, index) =>
        firstThatPasses(candidates, (signer) => {
          const { key } = signer;
          // 4. Hash and key are good enough today; so is the key that vouches for it.
          for (const strength of new Set([key, signer.primary])) {
            const remark = demandStrong(policy, what, signature.hash, strength, content);
            if (remark !== undefined) remarks.add(remark);
          }
          if (!key.object) {
            throw new Refusal('weak-algorithm', `${what} is by a ${key.type} key, which is not accepted.`, {
              key: key.type,
            });
          }
          // 5. The signature is over this content.
          if (answers) demandOver(what, signature, key, answers[index], reader);
          // 6. The key may sign, is not revoked, and lives, whichever copy of it is asked.
          for (const { fingerprint } of new Set([key, signer.primary])) {
            demandNotRevoked(policy, `The key ${fingerprint.slice(-16)}`, fingerprint);
          }
          const by = `${what} is by the key ${key.fingerprint.slice(-16)}`;
          for (const copy of signer.copies) demandUsable(by, copy, now);
          // 7. The signature itself is in its time, which begins with its key's.
          const created = demandCreated(what, signature, key);
          const ends = signature.expiresAfter
            ? created + signature.expiresAfter * 1000
            : Number.MAX_SAFE_INTEGER;
          demandWithin(`The signature ${what}`, created - SIGNATURE_SKEW, Math.min(ends, 8.64e15), now);
        }),
      );
    }
  });
}

function demandOver(
  what: string,
  signature: OpenpgpSignature,
  key: OpenpgpKey,
  digest: Answer | undefined,
  reader: 'gpgv' | 'grub',
): void {
  if (!(digest instanceof Uint8Array) || !isOpenpgpSignature(key, signature, digest)) {
    throw new Refusal('bad-signature', `${what} does not match: the file or its seal was changed.`, {
      signer: key.fingerprint,
    });
  }
  if (reader === 'grub') demandGrub(what, signature, key, digest);
}

/**
 * Throws a `Refusal` unless a key may sign documents at this time, as GnuPG has it.
 *
 * @param said how the sentence begins: `x.sig is by the key 0123456789abcdef`.
 * @param now milliseconds since 1970; undefined: whether it is in its time is not asked.
 */
export function demandUsable(said: string, signer: SigningKey, now: number | undefined): void {
  const { key, expires, revoked, maySign, weaklyBound } = signer;
  const facts = { signer: key.fingerprint };
  if (revoked) throw new Refusal('revoked', `${said}, which is revoked.`, facts);
  if (!maySign) {
    throw new Refusal(
      'wrong-purpose',
      weaklyBound
        ? `${said}, whose self-signature is hashed with SHA-1 or MD5 and counts for nothing; its owner makes a new one with "gpg --quick-set-expire".`
        : `${said}, which has no valid self-signature that lets it sign.`,
      facts,
    );
  }
  if (now === undefined) return;
  demandWithin(`The key ${key.fingerprint.slice(-16)}`, key.created, expires ?? 8.64e15, now);
}

/** GRUB finds the key by its id in the unhashed area alone, and compares the digest's first bytes. */
function demandGrub(what: string, signature: OpenpgpSignature, key: OpenpgpKey, digest: Uint8Array): void {
  if (grubKeyId(signature) === key.keyId && hasLeft16(signature, digest)) return;
  throw new Refusal('bad-signature', `${what} was changed where gpgv does not look, and GRUB does.`, {
    signer: key.fingerprint,
  });
}

/** GnuPG takes no signature that is older than its key, nor one that says nothing of its age. */
function demandCreated(what: string, { created }: OpenpgpSignature, key: OpenpgpKey): number {
  if (created === undefined) throw new Refusal('malformed', `${what} does not say when it was made.`, {});
  if (created < key.created) {
    const facts = { created: day(created), key: day(key.created) };
    throw new Refusal(
      'not-yet-valid',
      `${what} is of ${facts.created}, and its key was made on ${facts.key}.`,
      facts,
    );
  }
  return created;
}

/** A key that a signature may be by. */
interface Candidate {
  readonly key: OpenpgpKey;
  /** Of the certificate that holds it. */
  readonly primary: OpenpgpKey;
  /** As often as the keyring holds that certificate: one copy may know what another has not heard of. */
  readonly copies: readonly SigningKey[];
}

/**
 * By fingerprint where the signature names one, else by key id. Both are hints; step 5 decides, and two keys
 * may have one id. Not empty.
 */
function findSigners(
  what: string,
  signature: OpenpgpSignature,
  certificates: readonly OpenpgpCertificate[],
): readonly [Candidate, ...Candidate[]] {
  const { issuerFingerprint, issuerKeyId } = signature;
  const found = new Map<string, Candidate>();
  for (const { primary, keys } of certificates) {
    for (const copy of keys) {
      const { key } = copy;
      if (issuerFingerprint ? key.fingerprint !== issuerFingerprint : key.keyId !== issuerKeyId) continue;
      const name = `${primary.fingerprint} ${key.fingerprint}`;
      found.set(name, { key, primary, copies: [...(found.get(name)?.copies ?? []), copy] });
    }
  }
  const [first, ...others] = found.values();
  if (first) return [first, ...others];
  const wanted = issuerFingerprint ?? issuerKeyId ?? 'an unnamed key';
  throw new Refusal('untrusted-signer', `${what} is by ${wanted}, which is not in the keyring.`, {
    signer: wanted,
  });
}

/** Where none passes, the reason of one whose signature it is tells more than that it is not another's. */
function firstThatPasses(
  candidates: readonly [Candidate, ...Candidate[]],
  demand: (candidate: Candidate) => void,
): Candidate {
  let telling: Refusal | undefined;
  for (const candidate of candidates) {
    try {
      demand(candidate);
      return candidate;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      if (!telling || telling.code === 'bad-signature') telling = error;
    }
  }
  throw telling ?? new Refusal('no-verdict', 'No key was tried.', {});
}
