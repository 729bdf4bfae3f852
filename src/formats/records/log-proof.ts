import { Malformed } from '../../errors/malformed.ts';
import { type CheckpointFile, decodeCheckpointFile } from './checkpoint.ts';
import { LineReader } from './lines.ts';
import { decodeLogEntry, type LogEntry } from './log-entry.ts';
import { HASH_OCTETS, MAX_PROOF } from './merkle.ts';
import { decodeSealList, type SealList } from './seal-list.ts';

/**
 * A proof that an entry is in a log, for whoever has nothing but the log's certificate. Parts in this order, an
 * empty line between them: the inclusion path (RFC 9162 §2.1.3), the lowest hash first; the entry; where the
 * entry names one, the list of seals; the checkpoint and its seal.
 *
 *     bootseal-log-proof 1
 *     path <sha256>
 *
 *     bootseal-log-entry 1
 *     …
 *
 *     bootseal-seals 1
 *     …
 *
 *     bootseal-checkpoint 1
 *     …
 *
 *     -----BEGIN CMS-----
 *     …
 */
export interface LogProof {
  readonly path: readonly Uint8Array[];
  readonly entry: LogEntry;
  /** Its canonical form: what was hashed. */
  readonly entryBytes: Uint8Array;
  /** Present where the entry names one. Whether it is that one is not judged here. */
  readonly seals: { readonly list: SealList; readonly bytes: Uint8Array } | undefined;
  /** The checkpoint and its seal, byte for byte as a file of them. */
  readonly checkpoint: CheckpointFile;
}

/** Bytes. */
export const MAX_LOG_PROOF = 65_536;

const MAGIC = 'bootseal-log-proof 1';

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeLogProof(
  path: readonly Uint8Array[],
  entry: Uint8Array,
  seals: Uint8Array | undefined,
  checkpointFile: Uint8Array,
): Uint8Array {
  const head = [MAGIC, ...path.map((hash) => `path ${Buffer.from(hash).toString('hex')}`)];
  const parts = [Buffer.from(`${head.join('\n')}\n`), entry, ...(seals ? [seals] : []), checkpointFile];
  const bytes = Buffer.concat(
    parts.flatMap((part, index) => (index === 0 ? [part] : [Buffer.from('\n'), part])),
  );
  decodeLogProof(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else; verifies nothing. Throws `Malformed`. */
export function decodeLogProof(bytes: Uint8Array): LogProof {
  if (bytes.length > MAX_LOG_PROOF) throw new Malformed('log proof', `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  const parts = text.split('\n\n');
  // The checkpoint's file is the last two, and ends its own last line.
  const [head = '', entryText = ''] = parts;
  const sealsText = parts.length === 5 ? parts[2] : undefined;
  if (parts.length !== 4 && parts.length !== 5)
    throw new Malformed('log proof', 'parts are missing or too many');
  const entryBytes = Buffer.from(`${entryText}\n`, 'latin1');
  const entry = decodeLogEntry(entryBytes);
  if ((entry.seals === undefined) !== (sealsText === undefined))
    throw new Malformed('log proof', 'a list of seals belongs to an entry that names one, and to no other');
  const sealsBytes = sealsText === undefined ? undefined : Buffer.from(`${sealsText}\n`, 'latin1');
  const checkpoint = decodeCheckpointFile(Buffer.from(parts.slice(-2).join('\n\n'), 'latin1'));
  return {
    path: decodePath(head),
    entry,
    entryBytes,
    seals: sealsBytes && { list: decodeSealList(sealsBytes), bytes: sealsBytes },
    checkpoint,
  };
}

function decodePath(head: string): Uint8Array[] {
  const lines = new LineReader('log proof', head.split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const path: Uint8Array[] = [];
  while (lines.has('path')) {
    const hash = lines.one('path');
    if (hash.length !== 2 * HASH_OCTETS || !/^[0-9a-f]+$/.test(hash)) throw lines.fail('path is no SHA-256');
    path.push(Buffer.from(hash, 'hex'));
  }
  lines.end();
  if (path.length > MAX_PROOF) throw lines.fail('a path longer than any tree is high');
  return path;
}
