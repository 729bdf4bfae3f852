import { createHash } from 'node:crypto';
import { UsageError } from '../errors/usage.ts';
import { readIfThere } from '../files/read-if-there.ts';
import type { SnapshotKey } from '../signing/keys/snapshot-key.ts';
import { openState } from '../store/state.ts';
import { readStatePolicy, replacePolicy, STATE_POLICY, statePolicyText } from '../store/state-policy.ts';
import { parsePolicyFile } from '../trust/written-policy.ts';
import { logAct } from './log-act.ts';

export interface SetPolicyOptions {
  /** A folder, or a place in a bucket. */
  readonly state: string;
  /** Path of a policy file (TOML). */
  readonly policy: string;
  /** Signs the log's checkpoint; default: the state's own key. */
  readonly snapshotKey?: string | SnapshotKey;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Makes a file the policy of a state: from then on everybody who publishes, serves or goes back judges by it. Logged.
 *
 * @returns whether it says anything else than the policy before.
 * @throws UsageError where the file is none; IoError.
 */
export async function setPolicy({
  state: folder,
  policy,
  now,
  snapshotKey,
}: SetPolicyOptions): Promise<boolean> {
  const text = await readIfThere(policy);
  if (text === undefined) throw new UsageError(`${policy} does not exist.`);
  const wanted = parsePolicyFile(policy, text.toString('utf8'));
  const state = await openState(folder);
  try {
    if (wanted.canonical === (await readStatePolicy(state.folder)).canonical) return false;
    await writePolicy(state.folder, text, now, snapshotKey);
    return true;
  } finally {
    await state.release();
  }
}

/**
 * Writes the policy of a state that the caller has opened, on record.
 *
 * @param now milliseconds since 1970.
 */
export async function writePolicy(
  state: string,
  text: Uint8Array,
  now: number,
  snapshotKey?: string | SnapshotKey,
): Promise<void> {
  // Before it counts: a crash may leave an entry whose act never was, and never an act without its entry.
  const file = { sha256: createHash('sha256').update(text).digest('hex'), path: STATE_POLICY };
  const write = await replacePolicy(state);
  await logAct(state, { time: now, act: 'policy', file }, snapshotKey);
  await write(text);
}

/** The text of a state's policy; undefined where it has the default one. @throws IoError */
export async function showPolicy(state: string): Promise<string | undefined> {
  return statePolicyText(state);
}
