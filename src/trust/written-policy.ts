import { parseOperatorFile, readOperatorFile } from '../files/operator-file.ts';
import { type PolicyFile, policyOf } from './policy-file.ts';
import { POLICY } from './policy-schema.ts';

/** Reads a policy file. @throws UsageError, IoError */
export async function readPolicyFile(path: string): Promise<PolicyFile> {
  return policyOf(await readOperatorFile(path, POLICY), path);
}

/** The same of a file that was read. @param path names it in errors. */
export function parsePolicyFile(path: string, text: string): PolicyFile {
  return policyOf(parseOperatorFile(path, text, POLICY), path);
}
