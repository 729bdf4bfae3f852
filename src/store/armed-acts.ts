import type { Arming, Consumption } from '../formats/records/armed-boot.ts';
import type { Act } from './log.ts';

/** What the log says of boots that happen once. */

/** @param time milliseconds since 1970. */
export function armingAct({ mac, id, release, manifest, by }: Arming, time: number): Act {
  return { time, act: 'arm', release, manifest, origin: `${mac}, arming ${id}, by ${by}` };
}

/** @param by who took it back. @param time milliseconds since 1970. */
export function disarmingAct({ mac, id, release, manifest }: Arming, by: string, time: number): Act {
  return { time, act: 'disarm', release, manifest, origin: `${mac}, arming ${id}, by ${by}` };
}

/** @param time milliseconds since 1970. */
export function consumptionAct({ mac, id, release, manifest }: Arming, end: Consumption, time: number): Act {
  const from = end.address === undefined ? '' : `, claimed at ${end.address}`;
  return { time, act: 'consume', release, manifest, origin: `${mac}, arming ${id}, ${end.how}${from}` };
}
