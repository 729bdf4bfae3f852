import { Refusal } from '../errors/refusal.ts';
import { defaultPolicy, type Policy } from './policy.ts';

/** What a keyring is judged by, and the ways a certificate can fall out of it. */

/** Why a certificate was left out. The set is closed, as that of refusals is. */
export type DropReason =
  /** Its packets do not follow their format. */
  | 'malformed'
  /** No version 4 key. */
  | 'unsupported-version'
  /** A kind of key that Bootseal cannot verify with: DSA, ECDSA. */
  | 'unsupported-algorithm'
  /** More signatures than anybody needs, or a key or user id longer than others read. */
  | 'too-large'
  /** The policy wants a longer key. */
  | 'too-short'
  /** On the keyring's own list of revoked keys. */
  | 'listed-revoked'
  /** Revoked by a signature of its own. */
  | 'revoked'
  | 'not-yet-valid'
  | 'expired'
  /** Nothing that holds ties a user id to it. */
  | 'no-self-signature'
  /** What ties user id or signing key to it is hashed with SHA-1. */
  | 'sha1-binding'
  | 'md5-binding'
  /** Too few trusted keys certify a user id of it. */
  | 'below-threshold'
  /** Sound, and none of its keys may sign now. */
  | 'no-signing-key';

/** Ends the examination of one certificate. */
export class Drop extends Error {
  readonly reason: DropReason;

  constructor(reason: DropReason, message: string) {
    super(message);
    this.name = 'Drop';
    this.reason = reason;
  }
}

export interface Dropped {
  /** Undefined where the key is of no version that has one for us. */
  readonly fingerprint: string | undefined;
  /** Its first user id, as it claims; undefined where there is none. */
  readonly userId: string | undefined;
  readonly source: string;
  readonly reason: DropReason;
  /** One sentence. */
  readonly detail: string;
}

/** SHA-1 in certifications by others; as for what binds a key to its owner, see `certificate-state.ts`. */
const SHA1_UNTIL = {
  /** Collisions: what `verify` goes by. */
  default: Date.UTC(2013, 1),
  /** Second preimages, as Sequoia's standard policy counts. */
  sequoia: Date.UTC(2023, 1),
  /** As apt does. */
  apt: Date.UTC(2026, 1),
} as const;

export type KeyringPolicyName = keyof typeof SHA1_UNTIL;

export const KEYRING_POLICIES = Object.keys(SHA1_UNTIL) as readonly KeyringPolicyName[];

/** @param asOf milliseconds since 1970: the operator's date, never a signature's. */
export function keyringPolicy(name: KeyringPolicyName, asOf: number): Policy {
  const policy = defaultPolicy(asOf);
  return { ...policy, hashCutoff: { ...policy.hashCutoff, sha1: SHA1_UNTIL[name] } };
}

/** What one certificate may cost, in verifications with keys of 4096 bits. Old hands take a few dozen. */
const PER_CERTIFICATE = 1000;
/** … and a whole keyring: ten thousand keys at twenty each. */
const IN_ALL = 200_000;

/** Bytes that are hashed in about the time of one verification. */
const HASHED = 64 * 1024;

/** Counts signature verifications, so that a flooded keyring ends in a reason and not in an endless run. */
export class Effort {
  #spent = 0;
  #own = 0;

  /** The next certificate begins. */
  next(): void {
    this.#own = 0;
  }

  /**
   * Throws `Drop` for the certificate's limit, a `Refusal` for the keyring's.
   *
   * @param bits of the key that verifies: four times the length takes fifty times as long.
   * @param bytes that are hashed: attributes are pictures of any size.
   */
  spend(bits: number, octets = 0): void {
    const units = Math.max(1, Math.ceil(bits / 4096)) ** 3 + Math.floor(octets / HASHED);
    this.#own += units;
    if (this.#own > PER_CERTIFICATE) {
      throw new Drop('too-large', 'More signatures would have to be tried than anybody needs.');
    }
    this.#spent += units;
    if (this.#spent > IN_ALL) {
      throw new Refusal(
        'too-large',
        'The keyring holds more signatures to try than ten thousand keys need.',
        {},
      );
    }
  }
}
