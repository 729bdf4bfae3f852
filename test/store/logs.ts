import { createHash, randomUUID } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { LogEntry } from '../../src/formats/records/log-entry.ts';
import { checkpointSigner } from '../../src/publish/log-act.ts';
import { makeSnapshotKey } from '../../src/signing/keys/snapshot-key.ts';
import { type Act, recordAct } from '../../src/store/log.ts';
import type { LogStore } from '../../src/store/log-store.ts';
import { NOW } from '../fixtures/keys.ts';
import { readyKeyPair } from '../fixtures/ready-keys.ts';

/** Logs for tests: a key, and acts a second apart. */

export type LogKey = Awaited<ReturnType<typeof makeLogKey>>;

export async function makeLogKey(folder: string) {
  const key = await makeSnapshotKey(folder, 'lab', NOW, 2048, readyKeyPair);
  return { key, sign: checkpointSigner(key), certificates: [key.certificate] };
}

export function newState(folder: string): Promise<string> {
  const state = join(folder, `state-${randomUUID()}`);
  return mkdir(join(state, 'log'), { recursive: true }).then(() => state);
}

/** A publish of its own, as of `NOW` and `index` seconds. */
export function actOf(index: number, more: Partial<Act> = {}): Act {
  const release = `arch/2026.11.${index}`;
  return {
    time: NOW + index * 1000,
    act: 'publish',
    channel: 'stable',
    release,
    manifest: createHash('sha256').update(release).digest('hex'),
    counter: index + 1,
    ...more,
  };
}

/** Appends `count` acts, each with a checkpoint where there is a key. */
export async function record(
  state: string | LogStore,
  count: number,
  key?: LogKey,
  more: Partial<Act> = {},
  from = 0,
): Promise<LogEntry[]> {
  const entries: LogEntry[] = [];
  for (let index = from; index < from + count; index += 1)
    entries.push(await recordAct(state, actOf(index, more), key?.sign));
  return entries;
}
