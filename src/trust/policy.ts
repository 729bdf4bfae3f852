import type { HashName } from '../formats/oids.ts';
import { Refusal } from '../release/refusal.ts';

/**
 * Which algorithms are good enough, and until when they were. Judged as of a time that something other than
 * the signature vouches for; a signature's own claim about its age is never asked.
 */
export interface Policy {
  /** Milliseconds since 1970 from which a hash is no longer accepted; absent: accepted. */
  readonly hashCutoff: Readonly<Partial<Record<HashName, number>>>;
  /** Smallest RSA modulus, in bits, and what was enough before `since`. */
  readonly rsaBits: { readonly minimum: number; readonly since: number; readonly before: number };
  /** The time algorithms are judged at, milliseconds since 1970. */
  readonly asOf: number;
}

/** Cut-offs as others set them: MD5 2004-02, SHA-1 collisions 2013-02, RSA-1024 2014-02. */
export function defaultPolicy(asOf: number): Policy {
  return {
    hashCutoff: { md5: Date.UTC(2004, 1), sha1: Date.UTC(2013, 1) },
    rsaBits: { minimum: 2048, since: Date.UTC(2014, 1), before: 1024 },
    asOf,
  };
}

/** Throws `weak-algorithm` for a hash or key that the policy no longer takes. */
export function demandStrong(
  policy: Policy,
  what: string,
  hash: HashName,
  key: { readonly type: string; readonly bits: number },
): void {
  const cutoff = policy.hashCutoff[hash];
  if (cutoff !== undefined && policy.asOf >= cutoff) {
    throw new Refusal('weak-algorithm', `${what} uses ${hash}, not accepted since ${day(cutoff)}.`, {
      hash,
      since: day(cutoff),
    });
  }
  const bits = policy.asOf >= policy.rsaBits.since ? policy.rsaBits.minimum : policy.rsaBits.before;
  if (key.type === 'rsa' && key.bits < bits) {
    throw new Refusal(
      'weak-algorithm',
      `${what} is by an RSA key of ${key.bits} bits; ${bits} are the least.`,
      {
        bits: key.bits,
        least: bits,
      },
    );
  }
}

/** `2026-11-01` from milliseconds. */
export function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}
