import { join } from 'node:path';
import { UsageError } from '../errors/usage.ts';
import { isThere, readIfThere } from '../files/read-if-there.ts';
import {
  DEFAULT_POLICY_FILE,
  type PolicyFile,
  parsePolicyFile,
  readPolicyFile,
} from '../trust/policy-file.ts';
import { channelNames } from './channels.ts';

/** `STATE/policy.toml`: what everybody who publishes, serves or goes back judges by (DESIGN §3, rule 17). */
export const STATE_POLICY = 'policy.toml';

/** The policy of a state; the default one where it has none. @throws UsageError, IoError */
export async function readStatePolicy(state: string): Promise<PolicyFile> {
  const path = join(state, STATE_POLICY);
  const text = await readIfThere(path);
  return text === undefined ? DEFAULT_POLICY_FILE : parsePolicyFile(path, text.toString('utf8'));
}

/** True for a state that nothing was ever published to, and that was told no policy. @throws IoError */
export async function isFresh(state: string): Promise<boolean> {
  return !(await isThere(join(state, STATE_POLICY))) && (await channelNames(state)).length === 0;
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
  if (before && before.canonical !== own.canonical)
    throw new UsageError(`The policy of ${state} changed meanwhile; try again.`);
  if (given === undefined) return own;
  const other = await readPolicyFile(given);
  if (other.canonical === own.canonical) return own;
  throw new UsageError(
    `${given} differs from the policy of ${state}; to change that one, run "bootseal policy set ${given} --state ${state}".`,
  );
}
