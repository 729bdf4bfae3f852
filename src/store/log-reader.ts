import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { writeFileAtomically } from '../files/atomic-file.ts';
import { readIfThere, statIfThere } from '../files/read-if-there.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import type { ActKind, LogEntry } from '../formats/records/log-entry.ts';
import { MAX_LOG_PROOF } from '../formats/records/log-proof.ts';
import { readAnchorFile } from '../trust/anchor-folder.ts';
import { decodeCertificates } from '../trust/anchors.ts';
import { type ProvenEntry, verifyLogProof } from '../trust/log-proof-check.ts';
import { defaultPolicy } from '../trust/policy.ts';
import { auditLog, type LogAudit } from './log-audit.ts';
import { makeLogProof, readLogEntries } from './log-proof.ts';
import { isBucketState } from './s3/location.ts';
import { readSnapshotAnchors, snapshotAnchorsName } from './state-anchors.ts';

export interface ShowLogRequest {
  /** A folder, or a place in a bucket. */
  readonly state: string;
  readonly release?: string;
  readonly act?: ActKind;
  /** The newest so many of those that fit; default: all. */
  readonly last?: number;
}

/** Entries of the log, the oldest first, as they stand there: `checkLog` verifies. Throws a `Refusal`. */
export async function showLog({ state, release, act, last }: ShowLogRequest): Promise<LogEntry[]> {
  const shown: LogEntry[] = [];
  await readLogEntries(state, ({ entry }) => {
    if (release !== undefined && entry.release !== release) return;
    if (act !== undefined && entry.act !== act) return;
    shown.push(entry);
    if (last !== undefined && shown.length > last) shown.shift();
  });
  return shown;
}

export interface ProveLogRequest {
  readonly state: string;
  /** `arch/2026.11.01` */
  readonly release: string;
  /** The file to write. */
  readonly out: string;
  /** Default: the newest act that sealed or published the release. */
  readonly act?: ActKind;
  /** This very entry. */
  readonly index?: number;
  /** A PEM file, or a folder with a `snapshot.crt`; default: the state's own. */
  readonly certificates?: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** Acts that say of a release: these bytes, with these seals. */
const SEALING: readonly ActKind[] = ['seal', 'publish', 'resign'];

/**
 * Writes a proof that an entry about a release is in the log. What is written was verified as its reader will.
 *
 * @throws Refusal `absent`, what `verifyLogProof` throws; IoError.
 */
export async function proveLog(request: ProveLogRequest): Promise<ProvenEntry> {
  const { state, release, out, act, index, now } = request;
  const signers = await readLogCertificates(request.certificates ?? state);
  const acts = act === undefined ? SEALING : [act];
  const wanted = (entry: LogEntry) =>
    entry.release === release &&
    (index === undefined ? acts.includes(entry.act) : entry.index === index && (!act || entry.act === act));
  const which = index === undefined ? `entry (${acts.join(', ')})` : `entry ${index}`;
  const bytes = await makeLogProof(state, `${which} about ${release}`, wanted);
  const proven = await verifyLogProof(bytes, signers, defaultPolicy(now));
  await writeFileAtomically(out, bytes);
  return proven;
}

export interface CheckLogRequest {
  readonly state: string;
  /** Path of a checkpoint file that the auditor kept. */
  readonly since?: string;
  /** A PEM file, or a folder with a `snapshot.crt`; default: the state's own, which proves nothing against its holder. */
  readonly certificates?: string;
  /** Entries that wait for a signature are counted, and no reason to refuse. */
  readonly allowWaiting?: boolean;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** Reads and verifies the whole log. Throws a `Refusal` that names the first entry that something is wrong with. */
export async function checkLog(request: CheckLogRequest): Promise<LogAudit> {
  const { state, since, certificates, allowWaiting, now } = request;
  const signers = await readLogCertificates(certificates ?? state);
  return auditLog(state, signers, defaultPolicy(now), since, allowWaiting);
}

export interface CheckLogProofRequest {
  /** Path of a proof file. */
  readonly proof: string;
  /** A PEM file, or a folder with a `snapshot.crt`. */
  readonly certificates: string;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** Verifies a proof file, offline. Throws a `Refusal`. */
export async function checkLogProof(request: CheckLogProofRequest): Promise<ProvenEntry> {
  const bytes = await readLogProof(request.proof);
  return verifyLogProof(bytes, await readLogCertificates(request.certificates), defaultPolicy(request.now));
}

/** Bytes of a proof file, unverified. Throws `absent`, `too-large`. */
export async function readLogProof(path: string): Promise<Uint8Array> {
  const facts = await statIfThere(path);
  if (!facts?.isFile()) throw new Refusal('absent', `There is no proof ${path}.`, { path });
  if (facts.size > MAX_LOG_PROOF)
    throw new Refusal('too-large', `${path} has ${facts.size} bytes; no proof is that long.`, { path });
  try {
    return await readFile(path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

/** Certificates of a log's key: a PEM file, or a folder of anchors, or a state, that holds `snapshot.crt`. Throws a `Refusal`. */
export async function readLogCertificates(path: string): Promise<Certificate[]> {
  if (isBucketState(path)) {
    const found = await readSnapshotAnchors(path);
    if (found.length > 0) return found;
    throw unknownKey(snapshotAnchorsName(path), path);
  }
  const isFolder = (await statIfThere(path))?.isDirectory() === true;
  const bytes = isFolder ? await readAnchorFile(path, 'snapshot.crt') : await readIfThere(path);
  const name = isFolder ? join(path, 'snapshot.crt') : path;
  if (bytes) return decodeCertificates(name, bytes);
  throw unknownKey(name, path);
}

function unknownKey(name: string, path: string): Refusal {
  return new Refusal('absent', `${name} is not there: whose key signs the log is not known.`, { path });
}
