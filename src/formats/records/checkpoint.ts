import { Malformed } from '../../errors/malformed.ts';
import { decodePem, encodePem } from '../asn1/armor.ts';
import { isoSeconds, LineReader } from './lines.ts';

/**
 * A checkpoint: what the log's key says the log is. Lines as in the manifest:
 *
 *     bootseal-checkpoint 1
 *     log 5f0c8e1d2b7a49e6a3d4c5b6978812f0
 *     size 42
 *     root <sha256>
 *     time 2026-11-01T00:00:00Z
 *
 * A file of it is these lines, an empty one, and its seal, a detached CMS as PEM. Its first line is what tells
 * it from a channel's snapshot, which the same key signs.
 */
export interface Checkpoint {
  /** Which log: 32 hex digits, drawn when it began. One key may sign several. */
  readonly log: string;
  /** Entries. */
  readonly size: number;
  /** Root of the Merkle tree over them, lower-case hex. */
  readonly root: string;
  /** Of the last entry: milliseconds since 1970, whole seconds. */
  readonly time: number;
}

export interface CheckpointFile {
  readonly checkpoint: Checkpoint;
  /** Its canonical form: what is signed. */
  readonly bytes: Uint8Array;
  /** Detached CMS, DER; unverified. */
  readonly seal: Uint8Array;
}

/** Bytes. */
export const MAX_CHECKPOINT = 512;
export const MAX_CHECKPOINT_FILE = 16_384;

const MAGIC = 'bootseal-checkpoint 1';

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeCheckpoint({ log, size, root, time }: Checkpoint): Uint8Array {
  const lines = [MAGIC, `log ${log}`, `size ${size}`, `root ${root}`, `time ${isoSeconds(time)}`];
  const bytes = Buffer.from(`${lines.join('\n')}\n`);
  decodeCheckpoint(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeCheckpoint(bytes: Uint8Array): Checkpoint {
  if (bytes.length > MAX_CHECKPOINT) throw new Malformed('checkpoint', `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed('checkpoint', 'not lines of ASCII');
  const lines = new LineReader('checkpoint', text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const log = lines.one('log');
  if (!isLogName(log)) throw lines.fail('log');
  const size = lines.count(lines.one('size'), 'size');
  if (size === 0) throw lines.fail('a log without entries has no checkpoint');
  const root = lines.one('root');
  if (!/^[0-9a-f]{64}$/.test(root)) throw lines.fail('root is no SHA-256');
  const time = lines.time('time');
  lines.end();
  return { log, size, root, time };
}

export function isLogName(text: string): boolean {
  return /^[0-9a-f]{32}$/.test(text);
}

/** Writes a checkpoint and its seal as one file. */
export function encodeCheckpointFile(bytes: Uint8Array, seal: Uint8Array): Uint8Array {
  const file = Buffer.concat([bytes, Buffer.from(`\n${encodePem('CMS', seal)}`)]);
  decodeCheckpointFile(file);
  return file;
}

/** Decodes the canonical form and nothing else; verifies nothing. Throws `Malformed`. */
export function decodeCheckpointFile(file: Uint8Array): CheckpointFile {
  if (file.length > MAX_CHECKPOINT_FILE) throw new Malformed('checkpoint', `${file.length} bytes`);
  const text = Buffer.from(file).toString('latin1');
  const end = text.indexOf('\n\n');
  if (end < 0) throw new Malformed('checkpoint', 'without its seal');
  const bytes = Uint8Array.from(file.subarray(0, end + 1));
  const checkpoint = decodeCheckpoint(bytes);
  const pem = text.slice(end + 2);
  const [block] = decodePem(pem);
  // One way to write it: no second block, no carriage returns.
  if (block?.label !== 'CMS' || encodePem('CMS', block.bytes) !== pem)
    throw new Malformed('checkpoint', 'its seal is not one CMS as PEM');
  return { checkpoint, bytes, seal: block.bytes };
}
