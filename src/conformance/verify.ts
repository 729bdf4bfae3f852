import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { MAX_MANIFEST } from '../formats/records/manifest.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { readPolicyFileOr } from '../trust/given-policy.ts';
import { demandLogged, type LoggedTime, loggedTime } from '../trust/log-proof-check.ts';
import type { PolicyFile } from '../trust/policy-file.ts';
import { type AnchorFolders, readTrustRoots } from '../trust/trust-roots.ts';
import { type Verdict, Verifier } from '../trust/verifier.ts';

export interface VerifyOptions {
  readonly tree: string;
  /** An `anchors/` folder, or the `init` folder around it; several while a CA is being replaced. */
  readonly anchors: AnchorFolders;
  /** Milliseconds since 1970: what the operator's clock says. */
  readonly now: number;
  /** The time that certificates, keys and algorithms are judged at, on the operator's word; default `now`. */
  readonly at?: number;
  /** Path of a log's proof: the time that it vouches for takes the place of `at`, on the word of the log's key. */
  readonly proof?: string;
  /** Of the log's key: a PEM file, or a folder with a `snapshot.crt`; default: `snapshot.crt` among the anchors. */
  readonly logCertificates?: string;
  /** A policy file (TOML). */
  readonly policy?: string;
  readonly onProgress?: (path: string, bytes: number, size: number) => void;
}

export interface VerifyResult extends Verdict {
  /** What the proof vouched for; undefined where none was given. */
  readonly logged: LoggedTime | undefined;
}

/**
 * Verifies a sealed tree as its clients will, and proves what its boot script must hold.
 *
 * @throws UsageError where there is nothing to judge by: anchors, a policy. Refusal where a proof does not hold or is
 *   about another release. IoError.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const { tree: folder, now, onProgress } = options;
  const roots = await readTrustRoots(options.anchors);
  const policy = await readPolicyFileOr(options.policy);
  const tree = new FolderTree(folder, { alone: true, ...(onProgress ? { onProgress } : {}) });
  const logged =
    options.proof === undefined ? undefined : await readLogged(options, tree, options.proof, policy);
  const verdict = await new Verifier(roots, policy, () => now, logged?.time ?? options.at).verify(tree);
  const refusal = verdict.refusal ?? (logged && notLogged(logged, verdict));
  return { ...verdict, logged, refusal, release: refusal ? undefined : verdict.release };
}

async function readLogged(
  { anchors, logCertificates, now }: VerifyOptions,
  tree: FolderTree,
  proof: string,
  policy: PolicyFile,
): Promise<LoggedTime> {
  const { readLogCertificates, readLogProof } = await import('../store/log-reader.ts');
  const [first = ''] = typeof anchors === 'string' ? [anchors] : anchors;
  const signers = await readLogCertificates(logCertificates ?? first);
  const manifest = await tree.read(RECORD.manifest, MAX_MANIFEST);
  const sha256 = createHash('sha256').update(manifest).digest('hex');
  return loggedTime(await readLogProof(proof), signers, policy.at(now, now), sha256);
}

function notLogged(logged: LoggedTime, { records }: Verdict): Refusal | undefined {
  try {
    demandLogged(logged, records);
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
