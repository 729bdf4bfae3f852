import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { explain, removeTemporaries, syncDirectory, writeFileAtomically } from '../files/atomic-file.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import { decodeSnapshot, type Snapshot } from '../formats/records/snapshot.ts';
import { decodeOr } from '../trust/check.ts';
import { stateNames } from './state-names.ts';

/**
 * Channels at rest: `channels/NAME/COUNTER/snapshot` and its seal, for every snapshot there ever was, and
 * `channels/NAME/current`, a symbolic link that moves from one to the next in one step.
 */

export const SNAPSHOT = 'snapshot';
const CURRENT = 'current';

export interface StoredSnapshot {
  readonly snapshot: Snapshot;
  readonly bytes: Uint8Array;
  readonly seal: Uint8Array;
}

export function channelNames(state: string): Promise<string[]> {
  return stateNames(state, 'channels');
}

/** The current snapshot of a channel, unverified; undefined where there is none. Throws `malformed`. */
export async function readChannel(state: string, channel: string): Promise<StoredSnapshot | undefined> {
  return readSnapshot(state, channel, CURRENT);
}

/** Every snapshot of a channel, the oldest first. */
export async function channelHistory(state: string, channel: string): Promise<StoredSnapshot[]> {
  const names = await stateNames(state, 'channels', channel);
  const counters = names.filter((name) => /^[0-9]+$/.test(name)).sort((a, b) => Number(a) - Number(b));
  const found: StoredSnapshot[] = [];
  for (const counter of counters) {
    const stored = await readSnapshot(state, channel, counter);
    if (stored) found.push(stored);
  }
  return found;
}

async function readSnapshot(
  state: string,
  channel: string,
  which: string,
): Promise<StoredSnapshot | undefined> {
  const folder = join(state, 'channels', channel, which);
  const bytes = await readFile(join(folder, SNAPSHOT)).catch(() => undefined);
  const seal = await readFile(join(folder, SNAPSHOT + SEAL.cms)).catch(() => undefined);
  if (!bytes || !seal) return undefined;
  return { snapshot: decodeOr(`the snapshot of ${channel}`, () => decodeSnapshot(bytes)), bytes, seal };
}

/** Adds a snapshot and moves the channel to it: readers see the old one or the new, with its own seal. */
export async function moveChannel(state: string, { snapshot, bytes, seal }: StoredSnapshot): Promise<void> {
  const folder = join(state, 'channels', snapshot.channel);
  const counter = String(snapshot.counter);
  const draft = join(folder, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await mkdir(folder, { recursive: true });
    await removeTemporaries(folder);
    // A crash may have left this very counter without ever having been current.
    await rm(join(folder, counter), { recursive: true, force: true });
    await mkdir(draft);
    await writeFileAtomically(join(draft, SNAPSHOT), bytes, { mode: 0o444 });
    await writeFileAtomically(join(draft, SNAPSHOT + SEAL.cms), seal, { mode: 0o444 });
    await rename(draft, join(folder, counter));
    const pointer = join(folder, `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
    await symlink(counter, pointer);
    await rename(pointer, join(folder, CURRENT));
  } catch (error) {
    await rm(draft, { recursive: true, force: true });
    throw explain(error, folder);
  }
  await syncDirectory(folder);
}
