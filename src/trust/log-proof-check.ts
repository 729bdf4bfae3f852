import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import type { Checkpoint } from '../formats/records/checkpoint.ts';
import type { ActKind, LogEntry } from '../formats/records/log-entry.ts';
import { decodeLogProof } from '../formats/records/log-proof.ts';
import { isIncluded, leafHash } from '../formats/records/merkle.ts';
import type { SealList } from '../formats/records/seal-list.ts';
import { decodeOr } from './check.ts';
import { verifyCheckpoint } from './checkpoint-check.ts';
import { day, type Policy } from './policy.ts';

/** An entry that is in a log, by the word of the log's key. */
export interface ProvenEntry {
  readonly entry: LogEntry;
  readonly checkpoint: Checkpoint;
  /** The list that the entry names; undefined: it names none. */
  readonly seals: SealList | undefined;
}

/**
 * Verifies a proof file, offline.
 *
 * @param signers certificates of the log's key, which is the snapshot key.
 * @param policy by its clock the checkpoint's seal is judged.
 * @throws Refusal `malformed`; `bad-signature` where the entry, the list or the path was changed; and what a
 *   checkpoint may be refused for.
 */
export async function verifyLogProof(
  bytes: Uint8Array,
  signers: readonly Certificate[],
  policy: Policy,
): Promise<ProvenEntry> {
  const proof = decodeOr('The proof', () => decodeLogProof(bytes));
  const { entry, entryBytes, path, seals } = proof;
  const { index } = entry;
  // 1. The checkpoint is the log's.
  const checkpoint = await verifyCheckpoint(proof.checkpoint, signers, policy);
  // 2. The entry is in the tree that the checkpoint signed, where it says it is.
  const root = Buffer.from(checkpoint.root, 'hex');
  if (!isIncluded(leafHash(entryBytes), index, checkpoint.size, path, root)) {
    throw new Refusal(
      'bad-signature',
      `The proof does not lead from entry ${index} to the log's checkpoint: the entry or the path was changed.`,
      { index, size: checkpoint.size },
    );
  }
  // 3. It is no later than the checkpoint, which is not from the future.
  if (entry.time > checkpoint.time) {
    throw new Refusal(
      'bad-signature',
      `Entry ${index} of the log is later than the checkpoint that signs it.`,
      {
        index,
      },
    );
  }
  // 4. The list of seals is the one that the entry names.
  if (seals && createHash('sha256').update(seals.bytes).digest('hex') !== entry.seals) {
    throw new Refusal(
      'bad-signature',
      `The proof's list of seals is not the one that entry ${index} names.`,
      {
        index,
      },
    );
  }
  return { entry, checkpoint, seals: seals?.list };
}

/** When the log took an entry about a release. */
export interface LoggedTime {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly index: number;
  /** Entries of the log under the proof's checkpoint. */
  readonly size: number;
  /** The log's name. */
  readonly log: string;
  /** What was there at that time beside the payload; nothing else may be judged as of then. */
  readonly seals: SealList;
}

/** Those that say: this release, with these seals, was taken for good. A refusal vouches for nothing. */
export const VOUCHING: ReadonlySet<ActKind> = new Set(['seal', 'publish', 'rollback', 'resign']);

/**
 * The time that a proof vouches for, as tamper-proof storage: what algorithms, certificates and keys of exactly
 * this release, with exactly the listed seals, may be judged by.
 *
 * @param manifestSha256 lower-case hex, of the manifest at hand.
 * @throws Refusal `mixed-releases` where it is about another manifest; `no-verdict` where the entry vouches for
 *   nothing or names no seals; and what `verifyLogProof` throws.
 */
export async function loggedTime(
  bytes: Uint8Array,
  signers: readonly Certificate[],
  policy: Policy,
  manifestSha256: string,
): Promise<LoggedTime> {
  const { entry, checkpoint, seals } = await verifyLogProof(bytes, signers, policy);
  const { index, act, manifest, release, time } = entry;
  if (!VOUCHING.has(act)) {
    throw new Refusal(
      'no-verdict',
      `Entry ${index} of the log records an act of "${act}", which vouches for no release.`,
      { index, act },
    );
  }
  if (manifest !== manifestSha256) {
    throw new Refusal(
      'mixed-releases',
      `The proof is about ${release ?? 'another release'}, logged on ${day(time)}, and its manifest is not this one.`,
      { index, release, manifest },
    );
  }
  if (!seals) {
    throw new Refusal(
      'no-verdict',
      `Entry ${index} of the log does not say which seals there were: any of them may have been made later.`,
      { index },
    );
  }
  return { time, index, size: checkpoint.size, log: checkpoint.log, seals };
}

/**
 * Throws `drifted` unless every script, record and seal is one that was logged. Without it a key that was stolen
 * after it had expired could seal a script for an old release, and have it judged as of the release's day.
 *
 * @param records bytes by path.
 */
export function demandLogged(
  { seals, time, index }: LoggedTime,
  records: ReadonlyMap<string, Uint8Array>,
): void {
  for (const [path, bytes] of records) {
    if (seals.get(path) === createHash('sha256').update(bytes).digest('hex')) continue;
    throw new Refusal(
      'drifted',
      `${path} is not what entry ${index} of the log names: it was made or changed after ${day(time)}.`,
      { path, index },
    );
  }
}
