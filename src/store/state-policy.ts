import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { writeFileAtomically } from '../files/atomic-file.ts';
import { readIfThere } from '../files/read-if-there.ts';
import { DEFAULT_POLICY_FILE, type PolicyFile } from '../trust/policy-file.ts';
import { parsePolicyFile, readPolicyFile } from '../trust/written-policy.ts';
import { channelNames } from './channels.ts';
import { recordsOf } from './folder-backend.ts';
import { isBucketState } from './s3/location.ts';

/** `STATE/policy.toml`: what everybody who publishes, serves or goes back judges by (DESIGN §3, rule 17). */
export const STATE_POLICY = 'policy.toml';

/** The policy of a state; the default one where it has none. @throws UsageError, IoError */
export async function readStatePolicy(state: string): Promise<PolicyFile> {
  const text = await statePolicyText(state);
  if (text === undefined) return DEFAULT_POLICY_FILE;
  return parsePolicyFile(isBucketState(state) ? `${state}/${STATE_POLICY}` : join(state, STATE_POLICY), text);
}

/** The text of it; undefined where there is none. In a folder it may be a link to where an operator keeps it. @throws IoError */
export async function statePolicyText(state: string): Promise<string | undefined> {
  const bytes = isBucketState(state)
    ? (await recordsOf(state).get(STATE_POLICY))?.bytes
    : await readIfThere(join(state, STATE_POLICY));
  return bytes && Buffer.from(bytes).toString('utf8');
}

/**
 * Begins to write the policy of a state that the caller has opened. What comes back writes it, in place of the policy that
 * was there at the beginning.
 *
 * @throws UsageError, when it is written, where somebody else has written one to a bucket meanwhile; IoError.
 */
export async function replacePolicy(state: string): Promise<(text: Uint8Array) => Promise<void>> {
  if (!isBucketState(state)) return (text) => writeFileAtomically(join(state, STATE_POLICY), text);
  const records = recordsOf(state);
  const before = (await records.get(STATE_POLICY))?.version;
  return async (text) => {
    if (!(await records.compareAndSwap(STATE_POLICY, before, text))) throw changedMeanwhile(state);
  };
}

/** True for a state that nothing was ever published to, and that was told no policy. @throws IoError */
export async function isFresh(state: string): Promise<boolean> {
  return (await statePolicyText(state)) === undefined && (await channelNames(state)).length === 0;
}

/**
 * The policy of a state, for an act that may have been given one of its own: it must say the same, or what one act
 * accepts the next refuses.
 *
 * @param given path of a policy file.
 * @param before what the state's policy was when this act began.
 * @throws UsageError where they differ.
 */
export async function policyFor(state: string, given?: string, before?: PolicyFile): Promise<PolicyFile> {
  const own = await readStatePolicy(state);
  if (before && before.canonical !== own.canonical) throw changedMeanwhile(state);
  if (given === undefined) return own;
  const other = await readPolicyFile(given);
  if (other.canonical === own.canonical) return own;
  throw new UsageError(
    `${given} differs from the policy of ${state}; to change that one, run "bootseal policy set ${given} --state ${state}".`,
  );
}

function changedMeanwhile(state: string): UsageError {
  return new UsageError(`The policy of ${state} changed meanwhile; try again.`);
}
