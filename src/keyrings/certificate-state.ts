import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { decodeOpenpgpKey, keyHashInput, type OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import { PACKET, type Packet } from '../formats/openpgp/openpgp-packet.ts';
import {
  decodeSignature,
  find,
  type OpenpgpSignature,
  SUBPACKET,
} from '../formats/openpgp/openpgp-signature.ts';
import type { Part, TransferableKey } from '../formats/openpgp/openpgp-transferable.ts';
import { Drop } from '../trust/keyring-rules.ts';
import { certificationInput } from '../trust/openpgp-signed.ts';
import {
  decodeSignatures,
  type Examination,
  endOf,
  flagsOf,
  isAcceptable,
  isBy,
  isRevokedByAnother,
  isWithdrawn,
  isYesterdays,
  LONGEST_USER_ID,
  maySign,
  newestThatHolds,
  type Statement,
  tolerate,
  tryIsOver,
  type Unverified,
  withdrawals,
} from '../trust/openpgp-statement.ts';
import { day, demandStrong } from '../trust/policy.ts';
import { isInForce } from '../trust/revocation.ts';

/**
 * What a certificate says of itself at a stated time, for building keyrings. Time is the operator's: a
 * statement dated later is none yet.
 *
 * What binds a key to its owner must not be hashed with SHA-1 or MD5, under any policy: our own verifier
 * takes no such binding, and a boot is no place to find that out.
 */
export interface CertificateState {
  readonly primary: OpenpgpKey;
  readonly primaryPacket: Packet;
  /** Newest signature of the primary key on itself (0x1f). */
  readonly direct: Statement | undefined;
  /** Those that are bound and not revoked, at least one. */
  readonly userIds: readonly BoundUserId[];
  /** Those that may sign, or might before they were revoked. */
  readonly signers: readonly BoundSubkey[];
  /** Set where a subkey would sign, had it not been bound with a hash of yesterday. */
  readonly weakSubkey: Drop | undefined;
  readonly mayCertify: boolean;
}

export interface BoundUserId {
  readonly packet: Packet;
  readonly self: Statement;
  /** Signatures that may be by others; none is verified. */
  readonly others: readonly Unverified[];
}

export interface BoundSubkey {
  readonly packet: Packet;
  readonly binding: Statement;
  /** Not empty: it is revoked at that time. */
  readonly revocations: readonly Packet[];
}

/** What OpenSSL verifies with at all. */
const LONGEST_RSA = 16384;
/** Larger than any in use (65537), and slower. */
const LARGEST_EXPONENT = 2n ** 17n;
const MAY_CERTIFY = 0x01;

/** The fingerprint of a version 4 key, whatever else is wrong with it. */
export function primaryKeyOf({ packet }: Part): OpenpgpKey {
  const [version] = packet.body;
  if (version !== 4) throw new Drop('unsupported-version', `A key of version ${version}, not 4.`);
  try {
    return decodeOpenpgpKey(packet.body);
  } catch (error) {
    if (error instanceof Malformed) throw new Drop('malformed', `${error.message}.`);
    throw error;
  }
}

/** Throws a `Drop` unless the certificate is sound: alive, bound, strong enough. */
export function examineCertificate(parts: TransferableKey, rules: Examination): CertificateState {
  const [head, ...rest] = parts;
  // 1. The key is of a kind that we verify with, and strong enough.
  const primary = primaryKeyOf(head);
  demandKey(primary, rules);
  const input = keyHashInput(primary.body);
  const own = decodeSignatures(head).filter(({ signature }) => isBy(signature, primary));
  // 2. It is not revoked.
  for (const { revocation } of withdrawals(0x20, head, primary, input, rules)) {
    if (!isInForce(revocation, rules.at)) continue;
    throw new Drop(
      'revoked',
      revocation.kind === 'hard'
        ? `Revoked for good: ${reasonText(revocation.reason)}.`
        : `${reasonText(revocation.reason)} on ${day(revocation.from)}.`,
    );
  }
  if (isRevokedByAnother(parts, primary, rules)) {
    throw new Drop('revoked', 'A key that it names as its revoker claims to have revoked it.');
  }
  // 3. A user id is bound to it.
  const direct = newestThatHolds(
    own.filter(({ signature }) => signature.type === 0x1f && isAcceptable(signature, primary, rules)),
    primary,
    input,
    rules,
  );
  const userIds = boundUserIds(primary, input, rest, rules);
  // 4. It lives, by every word of its owner's that a reader may go by.
  const words = [direct, ...userIds.map(({ self }) => self)].filter((word) => word !== undefined);
  const [last] = words.toSorted((a, b) => b.created - a.created);
  for (const word of [direct, last]) {
    const ends = word && endOf(primary, word);
    if (ends !== undefined && ends <= rules.at) throw new Drop('expired', `It ended on ${day(ends)}.`);
  }
  // 5. Its subkeys, as far as they sign.
  const { signers, weakSubkey } = boundSubkeys(primary, input, rest, rules);
  const flags = last && flagsOf(last);
  return {
    primary,
    primaryPacket: head.packet,
    direct,
    userIds,
    signers,
    weakSubkey,
    mayCertify: flags === undefined || (flags & MAY_CERTIFY) !== 0,
  };
}

function demandKey(key: OpenpgpKey, { at, policy }: Examination): void {
  if (!key.object)
    throw new Drop('unsupported-algorithm', `Signatures by ${nameOf(key)} keys cannot be verified here.`);
  const exponent = key.object.asymmetricKeyDetails?.publicExponent ?? 0n;
  if (key.bits > LONGEST_RSA || exponent > LARGEST_EXPONENT) {
    throw new Drop('too-large', `An RSA key of ${key.bits} bits, or with a large exponent.`);
  }
  try {
    demandStrong(policy, `The key ${key.keyId}`, 'sha512', key);
  } catch (error) {
    if (error instanceof Refusal) throw new Drop('too-short', error.message);
    throw error;
  }
  if (key.created > at) throw new Drop('not-yet-valid', `It begins on ${day(key.created)}.`);
}

function nameOf({ type, algorithm }: OpenpgpKey): string {
  return type === 'other' ? `Algorithm ${algorithm}` : type.toUpperCase();
}

function reasonText(reason: number | undefined): string {
  if (reason === 2) return 'the key was compromised';
  if (reason === 1) return 'Superseded';
  if (reason === 3) return 'Retired';
  if (reason === 32) return 'User id given up';
  return 'no reason is given';
}

function boundUserIds(
  primary: OpenpgpKey,
  input: Uint8Array,
  parts: readonly Part[],
  rules: Examination,
): BoundUserId[] {
  const bound: BoundUserId[] = [];
  const seen = { any: false, long: false, revoked: false, weak: undefined as Drop | undefined, weakSince: 0 };
  for (const part of parts) {
    if (part.packet.tag !== PACKET.userId) continue;
    seen.any = true;
    if (part.packet.body.length > LONGEST_USER_ID) {
      seen.long = true;
      continue;
    }
    const signatures = decodeSignatures(part);
    const own = signatures.filter(({ signature }) => isBy(signature, primary));
    const context = certificationInput(input, part.packet.body);
    const claims = own
      .filter(({ signature: { type } }) => type >= 0x10 && type <= 0x13)
      .filter(({ signature }) => isAcceptable(signature, primary, rules));
    const self = newestThatHolds(claims, primary, context, rules);
    if (!self) continue;
    if (isWithdrawn(self.created, own, primary, context, rules)) {
      seen.revoked = true;
      continue;
    }
    // The newest counts whatever its hash: an older and stronger one was taken back by it.
    if (isYesterdays(self.signature)) {
      seen.weak ??= weakDrop(self.signature, 'what binds its user ids');
      seen.weakSince = Math.max(seen.weakSince, self.created);
      continue;
    }
    const others = signatures.filter(({ signature }) => !isBy(signature, primary));
    bound.push({ packet: part.packet, self, others });
  }
  // The last word may shorten the key's life on a name that is not emitted.
  if (seen.weak && bound.every(({ self }) => self.created < seen.weakSince)) throw seen.weak;
  if (bound.length > 0) return bound;
  if (seen.revoked) throw new Drop('revoked', 'Its owner has given up every user id of it.');
  if (seen.long) throw new Drop('too-large', `A user id of more than ${LONGEST_USER_ID} bytes.`);
  throw new Drop(
    'no-self-signature',
    seen.any ? 'No signature of its own on a user id holds.' : 'It has no user id.',
  );
}

function boundSubkeys(
  primary: OpenpgpKey,
  input: Uint8Array,
  parts: readonly Part[],
  rules: Examination,
): Pick<CertificateState, 'signers' | 'weakSubkey'> {
  const signers: BoundSubkey[] = [];
  let weakSubkey: Drop | undefined;
  for (const part of parts) {
    if (part.packet.tag !== PACKET.publicSubkey) continue;
    const key = tolerate(() => {
      const subkey = decodeOpenpgpKey(part.packet.body);
      demandKey(subkey, rules);
      return subkey;
    });
    if (!key) continue;
    const own = decodeSignatures(part).filter(({ signature }) => isBy(signature, primary));
    const context = Buffer.concat([input, keyHashInput(key.body)]);
    const bindings = own.filter(
      ({ signature }) => signature.type === 0x18 && isAcceptable(signature, primary, rules),
    );
    const binding = newestThatHolds(bindings, primary, context, rules);
    if (!binding || !maySign(binding)) continue;
    if (isYesterdays(binding.signature)) {
      weakSubkey ??= weakDrop(binding.signature, `what binds ${key.keyId}`);
      continue;
    }
    // A subkey that signs must itself agree, or anyone could adopt it (RFC 9580 §5.2.1.9).
    const agreement = embeddedIn(binding.signature);
    if (!agreement || !isAcceptable(agreement, key, rules) || !tryIsOver(key, context, agreement, rules)) {
      continue;
    }
    if (isYesterdays(agreement)) {
      weakSubkey ??= weakDrop(agreement, `what ${key.keyId} agrees with`);
      continue;
    }
    const revocations = withdrawals(0x28, part, primary, context, rules).filter(({ revocation }) =>
      isInForce(revocation, rules.at),
    );
    const emitted = revocations.flatMap(({ packet }) => packet ?? []);
    // A revocation that only others can verify cannot be handed on, so the key is not either.
    if (emitted.length < revocations.length) continue;
    const ends = endOf(key, binding);
    if (revocations.length === 0 && ends !== undefined && ends <= rules.at) continue;
    signers.push({ packet: part.packet, binding, revocations: emitted });
  }
  return { signers, weakSubkey };
}

function embeddedIn({ subpackets }: OpenpgpSignature): OpenpgpSignature | undefined {
  const body = find(subpackets, SUBPACKET.embeddedSignature)?.body;
  const signature = body && tolerate(() => decodeSignature(body));
  return signature?.type === 0x19 ? signature : undefined;
}

function weakDrop({ hash }: OpenpgpSignature, what: string): Drop {
  const reason = hash === 'md5' ? 'md5-binding' : 'sha1-binding';
  const name = hash === 'md5' ? 'MD5' : 'SHA-1';
  return new Drop(reason, `${name} is the hash of ${what}.`);
}
