import { Refusal } from '../errors/refusal.ts';
import { UsageError } from '../errors/usage.ts';
import { TEMPORARY } from '../files/atomic-file.ts';
import { namesIfThere } from '../files/read-if-there.ts';
import { recordsOf } from './folder-backend.ts';
import { isBucketState } from './s3/location.ts';

/**
 * `STATE/format`: a number, for the shape of everything in the folder. It is the first record of a new state, so a folder
 * that holds anything else and no number was never one of ours, or was made before there were numbers.
 */

export const STATE_FORMAT = 1;

const KEY = 'format';
/**
 * What may lie in a folder before it is a state: the lock and its folder come first, file systems bring a folder of their
 * own, and a package makes the one for receipts, which belongs to who serves.
 */
const BEFORE = ['lock', 'private', 'lost+found', 'boots'];
/** What a writer that was killed while it tried a bucket's engine left there. */
const PROBE = /^probe-[0-9a-f]{32}$/;

/**
 * The format of a state; undefined for a folder or a prefix that holds nothing yet, or does not exist.
 *
 * @throws UsageError for what is no state; Refusal `malformed` for a format that this program cannot read.
 */
export async function readFormat(state: string): Promise<number | undefined> {
  const records = recordsOf(state);
  const refuse = (what: string) => new Refusal('malformed', `${state} ${what}.`, { path: state });
  let record = await records.get(KEY);
  if (!record) {
    const names = await namesBesides(state);
    if (names.length === 0) return undefined;
    // Somebody who makes the state at this moment wrote it between the two looks.
    record = names.includes(KEY) ? await records.get(KEY) : undefined;
    if (!record)
      throw new UsageError(
        isBucketState(state)
          ? `${state} is not a state: it holds keys and no "format", so another program writes there. Name another prefix.`
          : `${state} is not a state folder: it holds files and no "format", or an earlier Bootseal made it. Name another, or publish into an empty one.`,
      );
  }
  const text = Buffer.from(record.bytes).toString('latin1');
  if (!/^[1-9][0-9]{0,5}\n$/.test(text)) throw refuse('has a "format" that is no number');
  const format = Number(text);
  if (format > STATE_FORMAT)
    throw refuse(
      `has format ${format}, and this Bootseal knows ${STATE_FORMAT}: use the newer one that wrote it`,
    );
  return format;
}

/** What lies in a folder or below a prefix that nobody puts there before it is a state. */
async function namesBesides(state: string): Promise<readonly string[]> {
  if (isBucketState(state)) return (await recordsOf(state).list('')).filter((name) => !PROBE.test(name));
  return (await namesIfThere(state)).filter((name) => !BEFORE.includes(name) && !TEMPORARY.test(name));
}

/**
 * Makes a folder or a prefix a state of this format, or leaves it one. Whoever calls has opened it: this is where a state of an
 * earlier format would be brought up to date, and there is none yet.
 */
export async function demandFormat(state: string): Promise<void> {
  if ((await readFormat(state)) === undefined)
    await recordsOf(state).putIfAbsent(KEY, Buffer.from(`${STATE_FORMAT}\n`));
}
