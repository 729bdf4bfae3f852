import { Refusal } from '../errors/refusal.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { MAX_SNAPSHOT } from '../formats/records/snapshot.ts';

/** Bytes of a snapshot's seal. */
export const MAX_SEAL = 64 * 1024;

type Read = (key: string, limit: number) => Promise<Uint8Array>;

/**
 * A channel's snapshot and its seal, as a state keeps them: `current` says which counts, and neither is ever changed.
 *
 * @throws Refusal `absent`, `malformed`, and what `read` throws.
 */
export async function snapshotInState(
  channel: string,
  read: Read,
): Promise<{ readonly bytes: Uint8Array; readonly seal: Uint8Array }> {
  const folder = `channels/${channel}`;
  const current = await read(`${folder}/current`, 32);
  const [, counter] = /^([1-9][0-9]{0,14})\n$/.exec(Buffer.from(current).toString('latin1')) ?? [];
  if (counter === undefined)
    throw new Refusal('malformed', `${folder}/current holds no counter of a snapshot.`, { path: folder });
  const key = `${folder}/${counter}/snapshot`;
  return { bytes: await read(key, MAX_SNAPSHOT), seal: await read(key + SEAL.cms, MAX_SEAL) };
}
