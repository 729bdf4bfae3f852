import { createHash } from 'node:crypto';
import { Refusal } from '../errors/refusal.ts';
import { scriptFile } from '../formats/records/script-batch.ts';
import { SEAL } from '../formats/records/seal-names.ts';
import type { StoreBackend } from './backend.ts';
import { readScript, type ScriptKind, type SignedScript } from './signed-scripts.ts';

/**
 * What machines get by name, at rest: a batch and the rules that it was made of, each by its SHA-256, beside the scripts
 * that it lists: `scripts/<sha256>.batch`, `.machines`.
 */

const BATCH = '.batch';
const RULES = '.machines';

/** Keeps a batch and its rules; both are there when it resolves. @returns the batch's SHA-256, lower-case hex. */
export async function keepBatch(
  records: StoreBackend,
  batch: Uint8Array,
  rules: Uint8Array,
): Promise<string> {
  await records.putIfAbsent(`scripts/${sha256Of(rules)}${RULES}`, rules);
  const sha256 = sha256Of(batch);
  await records.putIfAbsent(`scripts/${sha256}${BATCH}`, batch);
  return sha256;
}

/** @throws Refusal `absent`, `drifted`; IoError. */
export function readBatch(records: StoreBackend, sha256: string): Promise<Uint8Array> {
  return readByContent(records, `scripts/${sha256}${BATCH}`, sha256);
}

/** @throws Refusal `absent`, `drifted`; IoError. */
export function readBatchRules(records: StoreBackend, sha256: string): Promise<Uint8Array> {
  return readByContent(records, `scripts/${sha256}${RULES}`, sha256);
}

/**
 * Keeps a script with its newest seal: the same text is signed again where a leaf was replaced. Each seal is whole, and of
 * these bytes, whichever of them a reader gets.
 */
export async function keepSealed(
  records: StoreBackend,
  kind: ScriptKind,
  sha256: string,
  { bytes, seal }: SignedScript,
): Promise<void> {
  const key = scriptFile({ loader: kind, sha256 });
  await records.put(key + SEAL.openpgp, seal);
  await records.putIfAbsent(key, bytes);
}

/** A script and its seal; undefined where there is none yet. @throws Refusal `drifted`; IoError. */
export async function findSealed(
  records: StoreBackend,
  kind: ScriptKind,
  sha256: string,
): Promise<SignedScript | undefined> {
  try {
    return await readScript(records, kind, sha256);
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  }
}

async function readByContent(records: StoreBackend, key: string, sha256: string): Promise<Uint8Array> {
  const record = await records.get(key);
  if (!record) throw new Refusal('absent', `${key} is missing.`, { path: key });
  if (sha256Of(record.bytes) === sha256) return record.bytes;
  throw new Refusal('drifted', `${key} is not what its name says: it was changed.`, { path: key });
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
