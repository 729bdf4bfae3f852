import { Malformed } from '../errors/malformed.ts';
import { keyHashInput, type OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import { PACKET, type Packet } from '../formats/openpgp/openpgp-packet.ts';
import {
  decodeSignature,
  type OpenpgpSignature,
  readSignatureClaim,
  type SignatureClaim,
  SUBPACKET,
} from '../formats/openpgp/openpgp-signature.ts';
import type { Part, TransferableKey } from '../formats/openpgp/openpgp-transferable.ts';
import { Drop, type Effort } from './keyring-rules.ts';
import { canVerify, certificationInput, isOver, unknownCritical } from './openpgp-signed.ts';
import type { Policy } from './policy.ts';
import { isInForce, type Revocation, revocationOf } from './revocation.ts';

/** Signatures as statements about keys: whose they claim to be, whether they hold, when they count. */

/** A signature that holds. */
export interface Statement {
  readonly packet: Packet;
  readonly signature: OpenpgpSignature;
  /** Milliseconds since 1970. */
  readonly created: number;
}

export interface Unverified {
  readonly packet: Packet;
  readonly signature: OpenpgpSignature;
}

export interface Examination {
  readonly at: number;
  readonly policy: Policy;
  readonly effort: Effort;
}

const MAY_SIGN = 0x02;

/** The newest of some signatures that are dated and hold, whatever their hash. Older ones are not tried. */
export function newestThatHolds(
  signatures: readonly Unverified[],
  key: OpenpgpKey,
  context: Uint8Array,
  rules: Pick<Examination, 'effort'>,
): Statement | undefined {
  const newestFirst = signatures.toSorted((a, b) => (b.signature.created ?? 0) - (a.signature.created ?? 0));
  for (const { packet, signature } of newestFirst) {
    if (signature.created !== undefined && tryIsOver(key, context, signature, rules)) {
      return { packet, signature, created: signature.created };
    }
  }
  return undefined;
}

/** In its time, and saying nothing critical that we do not understand. Its hash is another question. */
export function isAcceptable(signature: OpenpgpSignature, key: OpenpgpKey, { at }: Examination): boolean {
  const { created, expiresAfter } = signature;
  if (created === undefined || created < key.created || created > at) return false;
  if (expiresAfter && created + expiresAfter * 1000 <= at) return false;
  return !unknownCritical(signature);
}

export function isYesterdays({ hash }: OpenpgpSignature): boolean {
  return hash === 'sha1' || hash === 'md5';
}

/**
 * Whether a word given at `created` was taken back by a revocation of it (0x30) by `key`. The last word
 * counts, of two at the same moment the withdrawal. A soft withdrawal dated later than now is none yet.
 */
export function isWithdrawn(
  created: number,
  signatures: readonly Unverified[],
  key: OpenpgpKey,
  context: Uint8Array,
  rules: Pick<Examination, 'at' | 'effort'>,
): boolean {
  return signatures.some(
    ({ signature }) =>
      signature.type === 0x30 &&
      isInForce(revocationOf(signature), rules.at) &&
      (signature.created === undefined || signature.created >= created) &&
      tryIsOver(key, context, signature, rules),
  );
}

/** Costs a verification. */
export function tryIsOver(
  key: OpenpgpKey,
  context: Uint8Array,
  signature: OpenpgpSignature,
  { effort }: Pick<Examination, 'effort'>,
): boolean {
  effort.spend(key.bits, context.length);
  return isOver(key, context, signature);
}

type Issuer = Pick<SignatureClaim, 'issuerFingerprint' | 'issuerKeyId'>;

/** By its own account. One that names nobody may be by anybody. */
export function isBy({ issuerFingerprint, issuerKeyId }: Issuer, key: OpenpgpKey): boolean {
  if (issuerFingerprint !== undefined) return issuerFingerprint === key.fingerprint;
  return issuerKeyId === undefined || issuerKeyId === key.keyId;
}

export function decodeSignatures({ signatures }: Part): Unverified[] {
  return signatures.flatMap((packet) => {
    const signature = tolerate(() => decodeSignature(packet.body));
    return signature ? [{ packet, signature }] : [];
  });
}

/**
 * Signatures in the name of `key` that cannot be verified here, for their version, hash or algorithm. Other
 * readers can, and whoever forges one takes a key away and adds none.
 */
export function claimsBy(key: OpenpgpKey, { signatures }: Part): SignatureClaim[] {
  return signatures.flatMap(({ body }) => {
    const signature = tolerate(() => decodeSignature(body));
    if (signature && canVerify(key, signature)) return [];
    const claim = readSignatureClaim(body);
    return isBy(claim, key) ? [claim] : [];
  });
}

/** A revocation that holds, or that must be taken to. */
export interface Withdrawal {
  /** Undefined where nobody here can verify it: its claim is enough. */
  readonly packet: Packet | undefined;
  readonly revocation: Revocation;
}

/** @param type 0x20 for a primary key, 0x28 for a subkey. */
export function withdrawals(
  type: 0x20 | 0x28,
  part: Part,
  primary: OpenpgpKey,
  context: Uint8Array,
  rules: Pick<Examination, 'effort'>,
): Withdrawal[] {
  const held = decodeSignatures(part)
    .filter(({ signature }) => signature.type === type && canVerify(primary, signature))
    .filter(({ signature }) => tryIsOver(primary, context, signature, rules))
    .map(({ packet, signature }) => ({ packet, revocation: revocationOf(signature) }));
  const claimed = claimsBy(primary, part)
    .filter((claim) => claim.type === type)
    .map(() => ({ packet: undefined, revocation: HARD }));
  return [...held, ...claimed];
}

const HARD: Revocation = { kind: 'hard', reason: undefined, from: Number.NEGATIVE_INFINITY };

/** GnuPG reads no longer user id, so nobody saw it when he certified it. Bytes. */
export const LONGEST_USER_ID = 2048;

/** What a certification of this user id or attribute covers; undefined for one that nobody reads. */
export function nameInput(primaryInput: Uint8Array, { tag, body }: Packet): Uint8Array | undefined {
  if (tag === PACKET.userAttribute) return certificationInput(primaryInput, body, 0xd1);
  if (tag !== PACKET.userId || body.length > LONGEST_USER_ID) return undefined;
  return certificationInput(primaryInput, body);
}

/** Names a key that may revoke this one: class, algorithm, fingerprint (RFC 9580 §5.2.3.23). */
const REVOKER = 12;

/**
 * A revocation by a designated revoker. The claim is enough, since the revoker's key may be nowhere near, and
 * whoever could forge one takes a key away and adds none. That the owner named the revoker is verified.
 */
export function isRevokedByAnother(
  parts: TransferableKey,
  primary: OpenpgpKey,
  rules: Pick<Examination, 'effort'>,
): boolean {
  const [head] = parts;
  const claims = head.signatures
    .map(({ body }) => readSignatureClaim(body))
    .filter((claim) => claim.type === 0x20 && !isBy(claim, primary));
  if (claims.length === 0) return false;
  const input = keyHashInput(primary.body);
  const revokers = new Set<string>();
  for (const part of parts) {
    const context = part === head ? input : nameInput(input, part.packet);
    if (!context) continue;
    for (const { signature } of decodeSignatures(part)) {
      const named = signature.subpackets.filter(({ type, hashed }) => type === REVOKER && hashed);
      if (named.length === 0 || !isBy(signature, primary)) continue;
      if (!tryIsOver(primary, context, signature, rules)) continue;
      for (const { body } of named) revokers.add(Buffer.from(body.subarray(2)).toString('hex'));
    }
  }
  const keyIds = new Set([...revokers].map((fingerprint) => fingerprint.slice(-16)));
  return claims.some(
    ({ issuerFingerprint, issuerKeyId }) =>
      revokers.has(issuerFingerprint ?? '') || keyIds.has(issuerKeyId ?? ''),
  );
}

/** What a statement lets its key do; undefined: it does not say. Flags without an octet let it do nothing. */
export function flagsOf({ signature }: Pick<Statement, 'signature'>): number | undefined {
  const flags = signature.subpackets.find(({ type, hashed }) => type === SUBPACKET.keyFlags && hashed);
  return flags && (flags.body[0] ?? 0);
}

/** A key of which nothing is said may do what its algorithm can: so gpg, openpgp.js and GRUB have it. */
export function maySign(statement: Pick<Statement, 'signature'>): boolean {
  return ((flagsOf(statement) ?? MAY_SIGN) & MAY_SIGN) !== 0;
}

/** When a key ends by a word of its owner's, in milliseconds since 1970; undefined: never. */
export function endOf(key: OpenpgpKey, { signature }: Pick<Statement, 'signature'>): number | undefined {
  const body = signature.subpackets.find(
    ({ type, hashed }) => type === SUBPACKET.keyExpirationTime && hashed,
  )?.body;
  const seconds = body?.length === 4 ? Buffer.from(body).readUInt32BE() : 0;
  return seconds > 0 ? key.created + seconds * 1000 : undefined;
}

/** A component that cannot be read is as good as none. */
export function tolerate<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof Malformed || error instanceof Drop) return undefined;
    throw error;
  }
}
