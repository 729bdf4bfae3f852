import type { PolicyFloor } from '../formats/records/policy-floor.ts';

/**
 * What early userspace takes for now. A clock that lost its battery, or that somebody set back, makes what has ended look
 * fresh, and what is good look as if it had not begun.
 */

/** A clock that says less than the floor's date of issue is wrong: it is taken to say that. Milliseconds since 1970. */
export function raisedClock(now: number, floor: PolicyFloor): number {
  return Math.max(now, floor.issued ?? now);
}

/**
 * A time server's claim, which nobody has signed. It moves the clock forward only: who answers in its place can set no
 * machine back to when a key was good that is no longer. And at most to best-before: nor can he make a fresh release stale.
 *
 * @param bestBefore undefined where the manifest states none that can be read; what is malformed moves no clock.
 * @returns the clock, and whether the claim lay behind best-before and was cut.
 */
export function movedClock(
  now: number,
  claim: number | undefined,
  bestBefore: number | undefined,
): { readonly now: number; readonly cut: boolean } {
  if (claim === undefined || bestBefore === undefined || !(claim > now)) return { now, cut: false };
  return { now: Math.max(now, Math.min(claim, bestBefore)), cut: claim > bestBefore };
}
