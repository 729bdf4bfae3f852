import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { readLogCertificates, readLogProof } from '../store/log-reader.ts';
import { type JudgedTree, judgeTree, readAllAnchors } from '../trust/judge-tree.ts';
import { demandLogged, type LoggedTime, loggedTime } from '../trust/log-proof-check.ts';
import { DEFAULT_POLICY_FILE, type PolicyFile, readPolicyFile } from '../trust/policy-file.ts';
import { readRecord } from './tree-transport.ts';

export interface VerifyOptions {
  readonly tree: string;
  /** An `anchors/` folder, or the `init` folder around it. */
  readonly anchors: string;
  /** Anchors of other CAs whose loaders shall start the release too, while a CA is being replaced. */
  readonly otherAnchors?: readonly string[];
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
  readonly onProgress?: (path: string, octets: number, size: number) => void;
}

export interface VerifyResult extends JudgedTree {
  /** What the proof vouched for; undefined where none was given. */
  readonly logged: LoggedTime | undefined;
}

/**
 * Verifies a sealed tree as its clients will, and proves what its boot script must hold.
 *
 * @throws Refusal where there is nothing to judge by: anchors, a policy, a proof that does not hold or is about
 *   another release.
 */
export async function verify(options: VerifyOptions): Promise<VerifyResult> {
  const { tree, now } = options;
  const { anchors, others } = await readAllAnchors(options.anchors, options.otherAnchors);
  const file = options.policy === undefined ? DEFAULT_POLICY_FILE : await readPolicyFile(options.policy);
  const logged = options.proof === undefined ? undefined : await readLogged(options, options.proof, file);
  const at = logged?.time ?? options.at ?? now;
  const verdict = await judgeTree(tree, anchors, {
    policy: file.at(at, now),
    now: at,
    others,
    ...(options.onProgress ? { onProgress: options.onProgress } : {}),
  });
  return { ...verdict, logged, refusal: verdict.refusal ?? (logged && notLogged(logged, verdict)) };
}

async function readLogged(options: VerifyOptions, proof: string, file: PolicyFile): Promise<LoggedTime> {
  const { tree, now } = options;
  const signers = await readLogCertificates(options.logCertificates ?? options.anchors);
  const manifest = await readRecord(tree, RECORD.manifest);
  const sha256 = createHash('sha256').update(manifest).digest('hex');
  return loggedTime(await readLogProof(proof), signers, file.at(now, now), sha256);
}

function notLogged(logged: LoggedTime, { small }: JudgedTree): Refusal | undefined {
  try {
    demandLogged(logged, small);
    return undefined;
  } catch (error) {
    if (error instanceof Refusal) return error;
    throw error;
  }
}
