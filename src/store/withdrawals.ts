import { z } from 'zod';
import { IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { recordsOf } from './folder-backend.ts';
import { encodeStateJson, isStateTime, readStateJson, stateTime } from './state-json.ts';

/**
 * `withdrawn/NAME/VERSION.json`: an operator took a release out of use for good. Its files stay (what was booted must be
 * found again), and nothing takes the record away: a release that is good after all gets another version.
 */

/** Characters. */
export const MAX_REASON = 500;

const WITHDRAWN = z.strictObject({
  'bootseal-withdrawn': z.literal(1),
  release: z.string().refine(isReleaseId),
  /** SHA-256 of its manifest as it stood; empty where nobody could tell. */
  manifest: z.string().regex(/^([0-9a-f]{64})?$/),
  time: z.string().refine(isStateTime),
  reason: z.string().min(1).max(MAX_REASON),
  /** True: machines that run it lose their root, too. */
  now: z.boolean(),
});

export interface Withdrawal {
  readonly release: string;
  /** SHA-256 of its manifest, lower-case hex; empty where nobody could tell. */
  readonly manifest: string;
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly reason: string;
  /** True: not only new boots end; running roots are cut. */
  readonly now: boolean;
}

/** How often a withdrawal is written anew because another one came first. */
const TRIES = 10;

const keyOf = (release: string) => `withdrawn/${release}.json`;

/** Why a release may not be used any more; undefined where it may. Throws a `Refusal` (`malformed`), an IoError. */
export async function withdrawnReason(state: string, release: string): Promise<Withdrawal | undefined> {
  const found = await readStateJson(recordsOf(state), keyOf(release), WITHDRAWN);
  if (!found) return undefined;
  const { 'bootseal-withdrawn': _, time, ...rest } = found.value;
  if (rest.release !== release) {
    throw new Refusal('drifted', `${keyOf(release)} is about ${rest.release}: it was moved.`, { release });
  }
  return { ...rest, time: Date.parse(time) };
}

/** What is said of a withdrawn release wherever it is asked for. */
export function withdrawnRefusal({ release, reason, time }: Withdrawal): Refusal {
  return new Refusal('withdrawn', `${release} was withdrawn on ${stateTime(time).slice(0, 10)}: ${reason}`, {
    release,
    time: stateTime(time),
  });
}

/** Throws a `Refusal` (`withdrawn`) for a release that may not be used any more; what `withdrawnReason` throws. */
export async function demandNotWithdrawn(state: string, release: string): Promise<void> {
  const withdrawal = await withdrawnReason(state, release);
  if (withdrawal) throw withdrawnRefusal(withdrawal);
}

/**
 * The state is the caller's. Once withdrawn stays withdrawn: the first time and reason are kept, `now` may be added. In a
 * bucket somebody else may do the same meanwhile: then both are heard.
 */
export async function writeWithdrawal(state: string, withdrawal: Withdrawal): Promise<void> {
  const { release, manifest, time, reason } = withdrawal;
  const records = recordsOf(state);
  const key = keyOf(release);
  for (let tries = 0; tries < TRIES; tries++) {
    const before = await readStateJson(records, key, WITHDRAWN);
    const first = before?.value ?? { release, manifest, time: stateTime(time), reason };
    const now = withdrawal.now || before?.value.now === true;
    const bytes = encodeStateJson(WITHDRAWN.parse({ 'bootseal-withdrawn': 1, ...first, now }));
    if (await records.compareAndSwap(key, before?.version, bytes)) return;
  }
  throw new IoError(`${key} is being written by others all the time; try again.`, key, undefined);
}
