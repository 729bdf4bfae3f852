import { isoSeconds } from '../formats/records/lines.ts';
import { channelNames, readChannel } from '../store/channels.ts';
import { readLogEntries } from '../store/log-proof.ts';
import { readWaiting } from '../store/log-waiting.ts';

/** Acts whose entry names the snapshot that a channel goes to. */
const MOVES: ReadonlySet<string> = new Set(['publish', 'renew', 'rollback', 'resign']);

/**
 * What a keyholder that died, or another writer, left half done, in plain sentences. The state is valid all the same:
 * an entry is written before its act, so there may be an entry whose act never was, and never an act without an entry.
 *
 * @throws Refusal where the log or a channel is not whole; IoError.
 */
export async function findUnfinished(state: string): Promise<string[]> {
  const found: string[] = [];
  const { signed, count } = await readWaiting(
    state,
    ({ act, index, time, channel, release, origin = '' }) => {
      if (act !== 'ask') return;
      const about = [channel, release].filter((part) => part !== undefined).join(' to ');
      found.push(
        `entry ${index} of the log (${origin}${about && `, ${about}`}, ${isoSeconds(time)}) was written and never signed: what was asked for may not have been done, ask again`,
      );
    },
  );
  if (count > 0) found.push(`entry ${signed} of the log and those after it (${count}) wait for a signature`);
  if (signed + count === 0) return found;
  for (const [channel, counter] of await loggedCounters(state)) {
    const current = (await readChannel(state, channel))?.snapshot.counter ?? 0;
    if (counter > current)
      found.push(
        `the log names snapshot ${counter} of ${channel}, which is at ${current}: that one never was, ask again`,
      );
  }
  return found;
}

/** By channel, the snapshot that its newest move names, where it is there at all. */
async function loggedCounters(state: string): Promise<Map<string, number>> {
  const channels = new Set(await channelNames(state));
  const counters = new Map<string, number>();
  if (channels.size === 0) return counters;
  await readLogEntries(state, ({ entry: { act, channel, counter } }) => {
    if (channel !== undefined && counter !== undefined && channels.has(channel) && MOVES.has(act))
      counters.set(channel, counter);
  });
  return counters;
}
