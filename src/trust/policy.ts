import { Refusal } from '../errors/refusal.ts';
import type { HashName } from '../formats/asn1/oids.ts';

/**
 * Which algorithms are good enough, and until when they were. Judged as of a time that something other than
 * the signature vouches for; a signature's own claim about its age is never asked.
 */
export interface Policy {
  /** Milliseconds since 1970 from which a hash is no longer accepted; absent: accepted. */
  readonly hashCutoff: Readonly<Partial<Record<HashName, number>>>;
  /** Smallest RSA modulus, in bits, and what was enough before `since`. */
  readonly rsaBits: { readonly minimum: number; readonly since: number; readonly before: number };
  /** The time algorithms and soft revocations are judged at, milliseconds since 1970. */
  readonly asOf: number;
  /** Weak signatures that the operator takes all the same, each for one digest. */
  readonly pins: readonly Pin[];
  /** Certificates and keys that the operator no longer takes. */
  readonly revoked: readonly Revoked[];
  /** How many distinct OpenPGP keys must have signed; each beyond the first in a file of its own. */
  readonly openpgpThreshold: number;
  /** What the operator's clock says, milliseconds since 1970: pins end by it, whatever `asOf` is. */
  readonly clock: number;
}

/** A digest that the operator has looked at by hand. */
export interface Pin {
  /** Of the content, lower-case hex. */
  readonly sha256: string;
  /** Milliseconds since 1970. */
  readonly until: number;
  readonly reason: string;
}

export interface Revoked {
  /** SHA-256 of a certificate's DER, or an OpenPGP fingerprint: lower-case hex. */
  readonly id: string;
  /**
   * Hard: the key may be in other hands, so nothing it ever signed counts, whatever date it bears. Soft: it was
   * replaced or retired, and what it signed before `since` stays.
   */
  readonly hard: boolean;
  /** Milliseconds since 1970; of a hard one only told. */
  readonly since: number;
  readonly reason: string;
}

/** Cut-offs as others set them: MD5 2004-02, SHA-1 collisions 2013-02, RSA-1024 2014-02. */
export function defaultPolicy(asOf: number, clock = asOf): Policy {
  return {
    hashCutoff: { md5: Date.UTC(2004, 1), sha1: Date.UTC(2013, 1) },
    rsaBits: { minimum: 2048, since: Date.UTC(2014, 1), before: 1024 },
    asOf,
    pins: [],
    revoked: [],
    openpgpThreshold: 1,
    clock,
  };
}

/** P-256. Smaller curves were never in use for code. */
const LEAST_CURVE = 256;

/**
 * Throws `weak-algorithm` for a hash or key that the policy no longer takes.
 *
 * @param content lower-case hex SHA-256 of what is signed, where a pin may speak for it.
 * @returns what must be said where only a pin made it acceptable.
 */
export function demandStrong(
  policy: Policy,
  what: string,
  hash: HashName,
  key: { readonly type: string; readonly bits: number },
  content?: string,
): string | undefined {
  const weak = weakness(policy, what, hash, key);
  if (weak === undefined) return undefined;
  const pin = content === undefined ? undefined : policy.pins.find(({ sha256 }) => sha256 === content);
  if (pin && policy.clock < pin.until) {
    return `${weak.message} Accepted until ${day(pin.until)} for this very content: ${pin.reason}.`;
  }
  if (!pin) throw weak;
  throw new Refusal(weak.code, `${weak.message} The pin that let it pass ended on ${day(pin.until)}.`, {
    ...weak.facts,
    until: day(pin.until),
  });
}

function weakness(
  policy: Policy,
  what: string,
  hash: HashName,
  key: { readonly type: string; readonly bits: number },
): Refusal | undefined {
  const cutoff = policy.hashCutoff[hash];
  if (cutoff !== undefined && policy.asOf >= cutoff) {
    return new Refusal('weak-algorithm', `${what} uses ${hash}, not accepted since ${day(cutoff)}.`, {
      hash,
      since: day(cutoff),
    });
  }
  const least = policy.asOf >= policy.rsaBits.since ? policy.rsaBits.minimum : policy.rsaBits.before;
  if (key.type === 'rsa' && key.bits < least) {
    return new Refusal(
      'weak-algorithm',
      `${what} is by an RSA key of ${key.bits} bits; ${least} are the least.`,
      {
        bits: key.bits,
        least,
      },
    );
  }
  // A curve whose length is not known is one that neither iPXE nor we have a name for.
  if (key.type === 'ec' && key.bits < LEAST_CURVE) {
    return new Refusal('weak-algorithm', `${what} is by a key on a curve that is not accepted.`, {
      bits: key.bits,
      least: LEAST_CURVE,
    });
  }
  return undefined;
}

/** Throws `revoked` for a certificate or key that the operator has struck off. */
export function demandNotRevoked(policy: Policy, what: string, id: string): void {
  const entry = policy.revoked.find((candidate) => candidate.id === id);
  if (!entry || (!entry.hard && policy.asOf < entry.since)) return;
  const since = day(entry.since);
  const how = entry.hard ? 'whatever date a signature by it bears' : `from ${since} on`;
  throw new Refusal('revoked', `${what} is revoked by the policy, ${how}: ${entry.reason}.`, { id, since });
}

/** `2026-11-01` from milliseconds. */
export function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}
