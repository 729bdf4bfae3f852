import { decodeOpenpgpKey, keyHashInput, type OpenpgpKey } from '../formats/openpgp/openpgp-key.ts';
import { PACKET } from '../formats/openpgp/openpgp-packet.ts';
import {
  decodeSignature,
  find,
  type OpenpgpSignature,
  SUBPACKET,
} from '../formats/openpgp/openpgp-signature.ts';
import {
  type Part,
  splitTransferableKeys,
  type TransferableKey,
} from '../formats/openpgp/openpgp-transferable.ts';
import { Drop, Effort } from './keyring-rules.ts';
import { unknownCritical } from './openpgp-signed.ts';
import {
  claimsBy,
  decodeSignatures,
  endOf,
  flagsOf,
  isBy,
  isRevokedByAnother,
  isWithdrawn,
  isYesterdays,
  LONGEST_USER_ID,
  maySign,
  nameInput,
  newestThatHolds,
  tolerate,
  tryIsOver,
  withdrawals,
} from './openpgp-statement.ts';

/** OpenPGP certificates (RFC 9580 §10.1): which of their keys may sign documents, from when, until when. */
export interface OpenpgpCertificate {
  readonly primary: OpenpgpKey;
  readonly userIds: readonly string[];
  readonly keys: readonly SigningKey[];
}

export interface SigningKey {
  readonly key: OpenpgpKey;
  /** The newest self-signature is one that counts, whatever it lets the key do. */
  readonly bound: boolean;
  /** False: the self-signature keeps it from signing, or there is no valid self-signature at all. */
  readonly maySign: boolean;
  /** What binds it is hashed with SHA-1 or MD5, and counts for nothing. */
  readonly weaklyBound: boolean;
  /** Milliseconds since 1970; undefined: never. */
  readonly expires: number | undefined;
  readonly revoked: boolean;
}

/** Ten thousand certificates of a few packets each; past that somebody wants our memory. */
const MAX_PACKETS = 200_000;
const BINDING = new Set([0x18]);
const CERTIFICATION = new Set([0x10, 0x11, 0x12, 0x13]);
const DIRECT = new Set([0x1f]);

/**
 * Decodes a binary keyring: transferable public keys, one after the other. Throws `Malformed`, and a `Refusal`
 * (`too-large`) for more signatures than ten thousand keys need.
 *
 * What is said of a key here holds at any time: a revocation counts whatever its date, and the newest
 * self-signature whatever its hash.
 */
export function decodeOpenpgpCertificates(bytes: Uint8Array): OpenpgpCertificate[] {
  const effort = new Effort();
  return splitTransferableKeys(bytes, MAX_PACKETS).flatMap((parts) => {
    effort.next();
    return tolerate(() => decodeCertificate(parts, effort)) ?? [];
  });
}

/**
 * A key of a version or algorithm we do not know makes a certificate of which nothing can be verified.
 *
 * Throws `Malformed` for one, and a `Drop` where more would have to be tried than anybody needs.
 */
function decodeCertificate(parts: TransferableKey, effort: Effort): OpenpgpCertificate {
  const [head, ...rest] = parts;
  const rules: Rules = { at: Number.POSITIVE_INFINITY, effort };
  const primary = decodeOpenpgpKey(head.packet.body);
  const input = keyHashInput(primary.body);
  const userIds = rest.flatMap(({ packet }) => (packet.tag === PACKET.userId ? [packet.body] : []));
  if (userIds.some(({ length }) => length > LONGEST_USER_ID)) {
    throw new Drop('too-large', `A user id of more than ${LONGEST_USER_ID} bytes: gpgv reads none of it.`);
  }

  const revoked =
    withdrawals(0x20, head, primary, input, rules).length > 0 || isRevokedByAnother(parts, primary, rules);
  const direct = lastWord(DIRECT, head, primary, input, rules);
  // The newest of each user id: what it says replaces what the same user id said before.
  const certifications = rest.flatMap((part) => {
    const context = nameInput(input, part.packet);
    const word = context && lastWord(CERTIFICATION, part, primary, context, rules);
    if (!word) return [];
    const own = decodeSignatures(part).filter(({ signature }) => isBy(signature, primary));
    return isWithdrawn(word.created, own, primary, context, rules) ? [] : [word];
  });
  const last = newest([...certifications, ...(direct ? [direct] : [])]);
  const ends = earliest(
    endByGnupg(primary, direct, certifications),
    // A word hashed with SHA-1 may shorten a life, not lengthen it.
    endByGnupg(primary, direct, certifications.filter(isSound)),
    endOfWord(primary, last),
  );
  // GnuPG hears what the key says of its own use before what it says beside its names, and of these the newest that
  // says anything of it.
  const use = [direct, ...certifications.toSorted((a, b) => b.created - a.created)].find(
    (word) => word?.signature && flagsOf({ signature: word.signature }) !== undefined,
  );
  const isKeptFrom = use?.signature && !maySign({ signature: use.signature });
  const keys: SigningKey[] = [
    {
      key: primary,
      bound: isSound(last),
      maySign: allowsSigning(last) && !isKeptFrom,
      weaklyBound: isWeak(last),
      expires: ends,
      revoked,
    },
  ];
  for (const part of rest) {
    if (part.packet.tag !== PACKET.publicSubkey) continue;
    const key = tolerate(() => decodeOpenpgpKey(part.packet.body));
    if (!key) continue;
    const context = Buffer.concat([input, keyHashInput(key.body)]);
    const bound = lastWord(BINDING, part, primary, context, rules);
    // It is worth no more than the primary key that vouches for it, and lives no longer.
    const isBound = isSound(last) && isSound(bound);
    keys.push({
      key,
      bound: isBound,
      maySign: isBound && allowsSigning(bound) && agrees(key, context, bound, rules),
      weaklyBound: isWeak(last) || isWeak(bound),
      expires: earliest(ends, endOfWord(key, bound)),
      revoked: revoked || withdrawals(0x28, part, primary, context, rules).length > 0,
    });
  }
  return { primary, userIds: userIds.map((name) => Buffer.from(name).toString('utf8')), keys };
}

interface Rules {
  readonly at: number;
  readonly effort: Effort;
}

/** What a key said last on something. */
interface Word {
  /** Milliseconds since 1970. */
  readonly created: number;
  /** Undefined for a word that cannot be verified here: nobody knows what it takes back. */
  readonly signature: OpenpgpSignature | undefined;
}

/**
 * The newest self-signature that holds, whatever its hash: an older one, however strong, was taken back by
 * it. One older than its key counts for nothing, as with GnuPG.
 */
function lastWord(
  types: ReadonlySet<number>,
  part: Part,
  key: OpenpgpKey,
  context: Uint8Array,
  rules: Rules,
): Word | undefined {
  const own = decodeSignatures(part)
    .filter(({ signature }) => types.has(signature.type) && isBy(signature, key))
    .filter(({ signature }) => (signature.created ?? 0) >= key.created);
  const claimed = claimsBy(key, part)
    .filter(({ type }) => type !== undefined && types.has(type))
    .map(({ created }): Word => ({ created: created ?? Number.POSITIVE_INFINITY, signature: undefined }))
    .filter(({ created }) => created >= key.created);
  const held = newestThatHolds(own, key, context, rules);
  return newest([...(held ? [held] : []), ...claimed]);
}

/** Of two at the same moment the first. */
function newest(words: readonly Word[]): Word | undefined {
  return words.toSorted((a, b) => b.created - a.created)[0];
}

/** SHA-1 and MD5 bindings are as good as none. */
function isSound(word: Word | undefined): word is Word & { signature: OpenpgpSignature } {
  return word?.signature !== undefined && !isYesterdays(word.signature) && !unknownCritical(word.signature);
}

function isWeak(word: Word | undefined): boolean {
  return word?.signature !== undefined && isYesterdays(word.signature);
}

function allowsSigning(word: Word | undefined): boolean {
  return isSound(word) && maySign(word);
}

/**
 * Milliseconds since 1970. Of several user ids GnuPG hears the newest that sets an end at all, so that a user
 * id that sets none cannot lengthen a key's life; we do as it does.
 */
function endByGnupg(key: OpenpgpKey, direct: Word | undefined, words: readonly Word[]): number | undefined {
  const own = direct?.signature && endOf(key, { signature: direct.signature });
  if (own !== undefined) return own;
  const limiting = words.filter(({ signature }) => signature && endOf(key, { signature }) !== undefined);
  return endOfWord(key, newest(limiting));
}

/**
 * When a word ends, or the key by it. Where GnuPG would go back to an older word, the key has ended for us:
 * its owner meant the newer one.
 */
function endOfWord(key: OpenpgpKey, word: Word | undefined): number | undefined {
  if (!word?.signature) return undefined;
  const { expiresAfter } = word.signature;
  return earliest(
    endOf(key, { signature: word.signature }),
    expiresAfter ? word.created + expiresAfter * 1000 : undefined,
  );
}

function earliest(...times: readonly (number | undefined)[]): number | undefined {
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** A subkey that signs must itself agree to the binding, or anyone could adopt it (RFC 9580 §5.2.1.9). */
function agrees(key: OpenpgpKey, context: Uint8Array, { signature }: Word, rules: Rules): boolean {
  const embedded = signature && find(signature.subpackets, SUBPACKET.embeddedSignature);
  const agreement = embedded && tolerate(() => decodeSignature(embedded.body));
  if (agreement?.type !== 0x19 || agreement.created === undefined || agreement.created < key.created)
    return false;
  return (
    isSound({ created: agreement.created, signature: agreement }) && tryIsOver(key, context, agreement, rules)
  );
}
