import { Refusal } from '../errors/refusal.ts';
import { day } from './policy.ts';

/** No release was sealed before: a machine that says so has lost its clock, and that is no tampering. */
const PLAUSIBLE = Date.UTC(2020, 0);

/**
 * Throws `expired` or `not-yet-valid` unless `now` lies within the span, give or take `margin`. A clock
 * problem is told from tampering by saying what the clock says.
 */
export function demandWithin(
  what: string,
  notBefore: number,
  notAfter: number,
  now: number,
  margin = 0,
): void {
  // A time that is no number is neither before nor after anything, and so would lie within every span.
  if (Number.isNaN(now + margin)) throw new RangeError('no time to judge by');
  if (now > notAfter + margin) {
    throw new Refusal('expired', `${what} ended on ${day(notAfter)}.`, {
      notAfter: day(notAfter),
      now: day(now),
    });
  }
  if (now < notBefore - margin) {
    const clock =
      now < PLAUSIBLE
        ? `this machine's clock says ${day(now)}: set it, or name a time server`
        : `it is judged as of ${day(now)}`;
    throw new Refusal('not-yet-valid', `${what} begins on ${day(notBefore)}, and ${clock}.`, {
      notBefore: day(notBefore),
      now: day(now),
    });
  }
}
