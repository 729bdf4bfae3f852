import { UsageError } from '../errors/usage.ts';
import { isChannelName } from '../formats/records/safe-path.ts';
import { channelNames, readChannel } from './channels.ts';
import { recordsOf } from './folder-backend.ts';

/**
 * `STATE/entry`: the channel whose release machines begin with that name none. `serve --channel` says it for a server;
 * a web server has nobody to ask.
 */
const KEY = 'entry';

/**
 * The channel that was chosen; else the only one there is. Undefined where there are several, or none.
 *
 * @throws IoError
 */
export async function readWebEntry(state: string): Promise<string | undefined> {
  const record = await recordsOf(state).get(KEY);
  const chosen = record && Buffer.from(record.bytes).toString('latin1').replace(/\n$/, '');
  if (chosen !== undefined && isChannelName(chosen)) return chosen;
  const [only, ...others] = await channelNames(state);
  return others.length === 0 ? only : undefined;
}

/** Whoever publishes first has chosen, until somebody says otherwise: a second channel takes nothing away. */
export async function keepWebEntry(state: string): Promise<void> {
  const only = await readWebEntry(state);
  if (only !== undefined) await recordsOf(state).putIfAbsent(KEY, Buffer.from(`${only}\n`));
}

/** Chooses. @throws UsageError for a channel that is not there. */
export async function chooseWebEntry(state: string, channel: string): Promise<void> {
  if (!(await readChannel(state, channel)))
    throw new UsageError(`There is no channel ${channel} in ${state}.`);
  const records = recordsOf(state);
  await records.put(KEY, Buffer.from(`${channel}\n`));
}
