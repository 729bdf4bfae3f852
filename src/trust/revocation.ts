import { type OpenpgpSignature, SUBPACKET } from '../formats/openpgp/openpgp-signature.ts';

/** What a revocation signature takes away, and from when (RFC 9580 §5.2.3.31). */
export interface Revocation {
  /**
   * Hard: the key may be in other hands, so whatever it ever signed, at whatever date, is void. Soft: it was
   * replaced or retired, and counts no more from a date on.
   */
  readonly kind: 'hard' | 'soft';
  /** The reason's code; undefined where none is given. */
  readonly reason: number | undefined;
  /** Milliseconds since 1970; for a hard one the beginning of time. */
  readonly from: number;
}

/** Superseded, retired, user id no longer valid. */
const SOFT: ReadonlySet<number> = new Set([1, 3, 32]);

/**
 * Reads a revocation signature (0x20, 0x28, 0x30); that it holds is the caller's to know. No reason, "no
 * reason", an unknown reason and one that stands where no signature covers it are all hard: who would have
 * us go on trusting must say why. So is a soft one that does not say since when.
 */
export function revocationOf({ subpackets, created }: OpenpgpSignature): Revocation {
  const reasons = subpackets
    .filter(({ type, hashed }) => type === SUBPACKET.revocationReason && hashed)
    .map(({ body }) => body[0]);
  const [reason] = reasons;
  const isSoft = reasons.length > 0 && reasons.every((code) => code !== undefined && SOFT.has(code));
  return isSoft && created !== undefined
    ? { kind: 'soft', reason, from: created }
    : { kind: 'hard', reason, from: Number.NEGATIVE_INFINITY };
}

/** Whether a revocation counts at a time, in milliseconds since 1970. A hard one always does. */
export function isInForce(revocation: Revocation, at: number): boolean {
  return at >= revocation.from;
}
