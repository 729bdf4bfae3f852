import { Refusal } from '../errors/refusal.ts';
import { keyHashInput, type OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import { encodeTransferableKey, type Part, trimSignature } from '../formats/openpgp/openpgp-transferable.ts';
import type { TrustEntry } from '../formats/openpgp/trust-list.ts';
import { Drop, type Dropped, Effort } from '../trust/keyring-rules.ts';
import { decodeOpenpgpCertificates } from '../trust/openpgp-certificate.ts';
import { certificationInput } from '../trust/openpgp-signed.ts';
import {
  type Examination,
  endOf,
  isAcceptable,
  isWithdrawn,
  maySign,
  newestThatHolds,
  type Statement,
  type Unverified,
} from '../trust/openpgp-statement.ts';
import { demandStrong, type Policy } from '../trust/policy.ts';
import { type BoundUserId, type CertificateState, examineCertificate } from './certificate-state.ts';
import { type Collected, collectCertificates, type KeyringSource, printable } from './keyring-sources.ts';

/**
 * The web of trust, run once: certificates, the keys that vouch for them, a date and a policy make a flat
 * list. Whoever holds the list needs no web any more, and takes each key in it for what it is.
 *
 *  1. A certificate stands for itself where its source has no list of trusted keys, or where it is on that list.
 *  2. Any other is kept when so many trusted keys certify one user id of it.
 *  3. A trusted key vouches only while it is sound itself, at the operator's date.
 */
export interface CurationRules {
  /** Milliseconds since 1970. No signature's own claim about its age makes it acceptable. */
  readonly at: number;
  readonly policy: Policy;
  /** Distinct trusted keys that must certify one user id. */
  readonly marginals: number;
}

export interface Kept {
  readonly fingerprint: string;
  readonly userId: string;
  /** A trusted key; on the list, and vouching for nobody; vouched for; given without any list. */
  readonly basis: 'trusted' | 'listed' | 'certified' | 'given';
  /** Fingerprints of the trusted keys that certify the user id. */
  readonly certifiers: readonly string[];
  /** Fingerprints of the keys that may sign at that date. */
  readonly signingKeys: readonly string[];
  /** When the last of them ends, milliseconds since 1970; undefined: never. */
  readonly until: number | undefined;
  /** What verification needs of it and nothing else, with old-format packet headers. */
  readonly certificate: Uint8Array;
}

export interface Curation {
  /** By fingerprint. */
  readonly kept: readonly Kept[];
  readonly dropped: readonly Dropped[];
  /** On a list of revoked keys, or revoked by themselves. By fingerprint. */
  readonly revoked: readonly string[];
  /** Trusted keys that vouched, or would have. */
  readonly introducers: readonly string[];
  /** Trusted keys of which no source holds the certificate. */
  readonly absent: readonly string[];
}

/** Runs the web of trust. Throws a `Refusal` only where the whole is too large. */
export function curate(sources: readonly KeyringSource[], rules: CurationRules): Curation {
  const examination: Examination = { at: rules.at, policy: rules.policy, effort: new Effort() };
  const { certificates, unreadable } = collectCertificates(sources);
  const trusted = new Map<string, TrustEntry['level']>();
  for (const { fingerprint, level } of sources.flatMap(({ trusted: list }) => list ?? [])) {
    // Named twice, a key vouches if either list says so.
    trusted.set(fingerprint, Math.max(level, trusted.get(fingerprint) ?? 0) as TrustEntry['level']);
  }
  const listedRevoked = new Set(sources.flatMap(({ revoked }) => revoked ?? []));

  // 1. What each certificate says of itself.
  const dropped: Dropped[] = [...unreadable];
  const sound = new Map<string, { collected: Collected; state: CertificateState }>();
  const revoked = new Set(listedRevoked);
  for (const [fingerprint, collected] of certificates) {
    const state = dropInstead(collected, dropped, () => {
      examination.effort.next();
      if (listedRevoked.has(fingerprint)) {
        throw new Drop('listed-revoked', 'It is on the list of revoked keys.');
      }
      return examineCertificate(collected.parts, examination);
    });
    if (state) sound.set(fingerprint, { collected, state });
    else if (dropped.at(-1)?.reason === 'revoked') revoked.add(fingerprint);
  }

  // 2. Who vouches.
  const introducers = [...sound.values()]
    .map(({ state }) => state)
    .filter(({ primary, mayCertify }) => mayCertify && (trusted.get(primary.fingerprint) ?? 0) > 3)
    .map(({ primary }) => primary);
  const vouching = new Introducers(introducers);

  // 3. Who is vouched for, and can sign.
  const kept: Kept[] = [];
  for (const [fingerprint, { collected, state }] of sound) {
    const found = dropInstead(collected, dropped, () => {
      examination.effort.next();
      const level = trusted.get(fingerprint);
      const listed = level === undefined ? undefined : level > 3 ? 'trusted' : 'listed';
      const ownBasis = listed ?? (collected.unlisted ? 'given' : undefined);
      const vouched = chooseUserId(state, vouching, ownBasis ? 0 : rules.marginals, examination);
      return keep(state, vouched, ownBasis ?? 'certified', rules.at);
    });
    if (found) kept.push(found);
  }
  const byFingerprint = <T extends { fingerprint: string | undefined }>(list: T[]): T[] =>
    list.sort((a, b) => ((a.fingerprint ?? '') < (b.fingerprint ?? '') ? -1 : 1));
  return {
    kept: byFingerprint(kept),
    dropped: byFingerprint(dropped),
    revoked: [...revoked].sort(),
    introducers: introducers.map(({ fingerprint }) => fingerprint).sort(),
    absent: [...trusted.keys()].filter((fingerprint) => !certificates.has(fingerprint)).sort(),
  };
}

function dropInstead<T>(collected: Collected, dropped: Dropped[], work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (!(error instanceof Drop)) throw error;
    const { fingerprint, userId, source } = collected;
    dropped.push({ fingerprint, userId, source, reason: error.reason, detail: error.message });
    return undefined;
  }
}

/** Trusted keys, found by what a signature says of its issuer. */
class Introducers {
  readonly #byFingerprint = new Map<string, OpenpgpKey>();
  readonly #byKeyId = new Map<string, OpenpgpKey[]>();

  constructor(keys: readonly OpenpgpKey[]) {
    for (const key of keys) {
      this.#byFingerprint.set(key.fingerprint, key);
      this.#byKeyId.set(key.keyId, [...(this.#byKeyId.get(key.keyId) ?? []), key]);
    }
  }

  /** Claims that some bytes make: which of these keys could stand behind each signature. */
  claims(signatures: readonly Unverified[]): Map<OpenpgpKey, Unverified[]> {
    const claims = new Map<OpenpgpKey, Unverified[]>();
    for (const unverified of signatures) {
      const { issuerFingerprint, issuerKeyId } = unverified.signature;
      const named = issuerFingerprint === undefined ? undefined : this.#byFingerprint.get(issuerFingerprint);
      const keys =
        issuerFingerprint === undefined ? (this.#byKeyId.get(issuerKeyId ?? '') ?? []) : named ? [named] : [];
      for (const key of keys) {
        const list = claims.get(key);
        if (list) list.push(unverified);
        else claims.set(key, [unverified]);
      }
    }
    return claims;
  }
}

interface Vouched {
  readonly userId: BoundUserId;
  readonly certifiers: readonly string[];
}

/** Of the user ids that enough trusted keys certify, the one its owner confirmed last. */
function chooseUserId(
  state: CertificateState,
  introducers: Introducers,
  needed: number,
  rules: Examination,
): Vouched {
  const input = keyHashInput(state.primary.body);
  let best: Vouched | undefined;
  let most = 0;
  let yesterdays = 0;
  for (const userId of state.userIds) {
    const context = certificationInput(input, userId.packet.body);
    const certifiers: string[] = [];
    for (const [key, claims] of introducers.claims(userId.others)) {
      if (certifies(claims, key, context, rules)) certifiers.push(key.fingerprint);
      else if (claims.some((claim) => isCertification(claim) && !isStrong(claim, key, rules))) yesterdays++;
    }
    most = Math.max(most, certifiers.length);
    if (certifiers.length < needed) continue;
    if (!best || userId.self.created > best.userId.self.created) {
      best = { userId, certifiers: certifiers.sort() };
    }
  }
  if (best) return best;
  const more = yesterdays > 0 ? `; ${yesterdays} more use a hash that is not accepted` : '';
  throw new Drop('below-threshold', `${most} of ${needed} trusted keys certify a user id of it${more}.`);
}

function certifies(
  claims: readonly Unverified[],
  key: OpenpgpKey,
  context: Uint8Array,
  rules: Examination,
): boolean {
  const certifications = claims.filter(
    (claim) =>
      isCertification(claim) &&
      isExportable(claim) &&
      isStrong(claim, key, rules) &&
      isAcceptable(claim.signature, key, rules),
  );
  // SHA-1 may count here, where the operator chose such a policy.
  const word = newestThatHolds(certifications, key, context, rules);
  return word !== undefined && !isWithdrawn(word.created, claims, key, context, rules);
}

/** Generic, casual, positive. A persona certification (0x11) says that nothing was checked; gpg skips it too. */
function isCertification({ signature: { type } }: Unverified): boolean {
  return type === 0x10 || type === 0x12 || type === 0x13;
}

/** RFC 9580 §5.2.3.19. What was meant for one machine says nothing on another. */
function isExportable({ signature }: Unverified): boolean {
  return !signature.subpackets.some(({ type, hashed, body }) => type === 4 && hashed && body[0] !== 1);
}

function isStrong({ signature }: Unverified, key: OpenpgpKey, { policy }: Examination): boolean {
  try {
    demandStrong(policy, 'A certification', signature.hash, key);
    return true;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

/** Reduces a certificate to what verification needs, and asks the verifier whether that suffices. */
function keep(
  state: CertificateState,
  { userId, certifiers }: Vouched,
  basis: Kept['basis'],
  at: number,
): Kept {
  demandLastWord(state, userId);
  const certificate = minimise(state, userId);
  const [read] = decodeOpenpgpCertificates(certificate);
  const usable = (read?.keys ?? []).filter(
    ({ maySign, revoked, expires, key }) =>
      maySign && !revoked && key.created <= at && (expires === undefined || expires > at),
  );
  if (usable.length === 0) {
    throw state.weakSubkey ?? new Drop('no-signing-key', 'None of its keys may sign at that date.');
  }
  const ends = usable.map(({ expires }) => expires ?? Number.POSITIVE_INFINITY);
  const last = Math.max(...ends);
  return {
    fingerprint: state.primary.fingerprint,
    userId: printable(userId.packet.body),
    basis,
    certifiers,
    signingKeys: usable.map(({ key }) => key.fingerprint),
    until: Number.isFinite(last) ? last : undefined,
    certificate,
  };
}

/**
 * The owner's last word on how long the key lives, and what for, may stand on a user id that too few certify.
 * That name is not emitted, so the key would outlive the word.
 */
function demandLastWord({ primary, userIds }: CertificateState, chosen: BoundUserId): void {
  const [last = chosen] = userIds.toSorted((a, b) => b.self.created - a.self.created);
  const never = Number.POSITIVE_INFINITY;
  const outlives = (endOf(primary, chosen.self) ?? never) > (endOf(primary, last.self) ?? never);
  if (outlives || (maySign(chosen.self) && !maySign(last.self))) {
    throw new Drop('below-threshold', 'Its owner limited it since, on a user id that too few certify.');
  }
}

function minimise(state: CertificateState, userId: BoundUserId): Uint8Array {
  const { primary, primaryPacket, direct, signers } = state;
  const trimmed = ({ packet }: Pick<Statement, 'packet'>) => ({
    ...packet,
    body: trimSignature(packet.body, primary.keyId),
  });
  const parts: Part[] = [
    { packet: primaryPacket, signatures: direct ? [trimmed(direct)] : [] },
    { packet: userId.packet, signatures: [trimmed(userId.self)] },
    ...signers.map(({ packet, binding, revocations }) => ({
      packet,
      // A revoked key stays, with its revocation: "revoked" tells more than "unknown".
      signatures: [trimmed(binding), ...revocations.map((revocation) => trimmed({ packet: revocation }))],
    })),
  ];
  return encodeTransferableKey(parts);
}
