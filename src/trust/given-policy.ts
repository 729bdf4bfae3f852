import { DEFAULT_POLICY_FILE, type PolicyFile } from './policy-file.ts';

/** Reads a policy file, or answers the default policy where none was named. @throws UsageError, IoError */
export async function readPolicyFileOr(path: string | undefined): Promise<PolicyFile> {
  if (path === undefined) return DEFAULT_POLICY_FILE;
  const { readPolicyFile } = await import('./written-policy.ts');
  return readPolicyFile(path);
}
