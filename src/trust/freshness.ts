import { Refusal } from '../errors/refusal.ts';
import type { Manifest } from '../formats/records/manifest.ts';
import type { PolicyFloor } from '../formats/records/policy-floor.ts';
import { day } from './policy.ts';

const DAY = 86_400_000;
/** From so many days ahead a machine warns. */
const WARN_DAYS = 14;
/** No release was issued before: a clock that says so is lost. */
const PLAUSIBLE = Date.UTC(2020, 0);

/** Where nothing in the initramfs sets one. */
export const NO_FLOOR: PolicyFloor = { name: undefined, minSerial: 0, graceDays: 0, require: [] };

/**
 * Holds a verified manifest against the policy floor and the clock.
 *
 * @param now milliseconds since 1970.
 * @returns days until best-before where there are 14 or fewer, for a warning, negative past it; else undefined.
 * @throws Refusal `mixed-releases` (another name), `rolled-back`, `stale`.
 */
export function demandFresh(manifest: Manifest, floor: PolicyFloor, now: number): number | undefined {
  const { release, serial, bestBefore } = manifest;
  if (floor.name !== undefined && !release.startsWith(`${floor.name}/`)) {
    throw new Refusal(
      'mixed-releases',
      `${release} is no release of ${floor.name}, which this machine boots.`,
      {
        release,
        name: floor.name,
      },
    );
  }
  if (serial < floor.minSerial) {
    throw new Refusal(
      'rolled-back',
      `${release} has serial ${serial}; this machine takes none below ${floor.minSerial}.`,
      { serial, floor: floor.minSerial },
    );
  }
  // A clock that was lost can only make a release look fresh; what is certain is said all the same.
  const end = bestBefore + floor.graceDays * DAY;
  if (now > end) {
    throw new Refusal('stale', `${release} was best before ${day(bestBefore)}.`, {
      bestBefore: day(bestBefore),
      now: day(now),
    });
  }
  if (now < PLAUSIBLE) return undefined;
  const days = (bestBefore - now) / DAY;
  // The last second is still fresh, and the one behind it is not.
  const left = days < 0 ? Math.floor(days) : Math.ceil(days);
  return left <= WARN_DAYS ? left : undefined;
}

/** Throws `wrong-machine` unless the release is for this architecture (`uname -m`). */
export function demandArchitecture(manifest: Manifest, arch: string): void {
  if (manifest.arch === arch) return;
  throw new Refusal(
    'wrong-machine',
    `${manifest.release} is for ${manifest.arch}; this machine is ${arch}.`,
    {
      arch: manifest.arch,
      machine: arch,
    },
  );
}
