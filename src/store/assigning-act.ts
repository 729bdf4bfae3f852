import type { Act } from './log.ts';

/**
 * What the log says of who gets what, where a program wrote it down.
 *
 * @param assigned in words; undefined: it was taken away.
 * @param by who had it written.
 * @param time milliseconds since 1970.
 */
export function assigningAct(mac: string, assigned: string | undefined, by: string, time: number): Act {
  // Who it was is not what is cut where that is long.
  return { time, act: 'assign', origin: `${mac}, by ${by}: ${assigned ?? 'nothing of its own any more'}` };
}
