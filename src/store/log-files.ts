import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotRead, IoError, isAbsent } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { readFully } from '../files/read-fully.ts';
import { type CheckpointFile, decodeCheckpointFile } from '../formats/records/checkpoint.ts';
import { decodeLogEntry, type LogEntry, MAX_LOG_ENTRY } from '../formats/records/log-entry.ts';
import { HASH_OCTETS, joinNodes, nodesOf, type Range } from '../formats/records/merkle.ts';
import { decodeOr } from '../trust/check.ts';
import { recordsOf } from './folder-backend.ts';

/**
 * The log at rest, below `STATE/log/`:
 *
 *     name         32 hex digits, drawn when the log began
 *     entries      every entry, an empty line after each: the truth; all else but the checkpoint follows from it
 *     offsets      8 bytes an entry, big-endian: where it ends in `entries`
 *     hashes       32 bytes each, in the order of `formats/merkle.ts`
 *     checkpoint   the newest, with its seal
 *     seals/…      lists of seals that entries name, each under its SHA-256
 *
 * The first four only grow. Nothing here takes the state's lock: whoever writes holds it.
 */
export const LOG_FILES = {
  name: 'name',
  entries: 'entries',
  offsets: 'offsets',
  hashes: 'hashes',
  checkpoint: 'checkpoint',
  seals: 'seals',
} as const;

export const OFFSET_OCTETS = 8;

/** For messages. */
const ENTRIES = 'log/entries';
/** Bytes read at a time. */
const CHUNK = 64 * 1024;

export function logPath(state: string, ...names: string[]): string {
  return join(state, 'log', ...names);
}

/** The key of one of the log's records. */
export function logKey(...names: string[]): string {
  return ['log', ...names].join('/');
}

/** Opens a file of the log for reading. Throws `absent` where there is no log; an IoError. */
export async function openLogFile(state: string, name: string): Promise<FileHandle> {
  const path = logPath(state, name);
  try {
    return await open(path, 'r');
  } catch (error) {
    if (!isAbsent(error)) throw cannotRead(path, error);
    throw new Refusal('absent', `There is no log in ${state}: ${path} does not exist.`, { path: state });
  }
}

/** The log's name; undefined where it has none yet. Throws `malformed`. */
export async function findLogName(state: string): Promise<string | undefined> {
  const record = await recordsOf(state).get(logKey(LOG_FILES.name));
  if (!record) return undefined;
  const [, name] = /^([0-9a-f]{32})\n$/.exec(Buffer.from(record.bytes).toString('latin1')) ?? [];
  if (name !== undefined) return name;
  throw new Refusal('malformed', `${logPath(state, LOG_FILES.name)} holds no name of a log.`, {
    path: state,
  });
}

/** The log's name. Throws `absent`, `malformed`. */
export async function readLogName(state: string): Promise<string> {
  const name = await findLogName(state);
  if (name !== undefined) return name;
  throw new Refusal('absent', `There is no log in ${state}.`, { path: state });
}

/** The newest checkpoint, unverified, and its file's bytes; undefined where nobody signed one yet. Throws `malformed`. */
export async function readCheckpoint(
  state: string,
): Promise<{ file: CheckpointFile; bytes: Uint8Array } | undefined> {
  const record = await recordsOf(state).get(logKey(LOG_FILES.checkpoint));
  if (!record) return undefined;
  const { bytes } = record;
  return { file: decodeOr(logPath(state, LOG_FILES.checkpoint), () => decodeCheckpointFile(bytes)), bytes };
}

export interface FoundEntry {
  readonly index: number;
  readonly entry: LogEntry;
  /** Its canonical form. */
  readonly bytes: Uint8Array;
  /** Bytes from the start of `entries`, the empty line after it included. */
  readonly end: number;
}

/**
 * Goes through the entries from an offset on. Each is canonical, at its place, and not earlier than the one
 * before it. What stands after the last empty line is an entry in the making, and left alone.
 *
 * @param first the index of the entry there.
 * @returns where the last complete entry ends.
 * @throws Refusal `malformed`, `drifted`, with the index.
 */
export async function scanEntries(
  entries: FileHandle,
  from: number,
  first: number,
  onEntry: (found: FoundEntry) => void | Promise<void>,
): Promise<number> {
  let rest = Buffer.alloc(0);
  let end = from;
  let index = first;
  let last: LogEntry | undefined;
  for (;;) {
    const piece = await readFully(ENTRIES, entries, end + rest.length, CHUNK);
    if (piece.length === 0) {
      await demandEnd(entries, end + rest.length);
      return end;
    }
    rest = Buffer.concat([rest, piece]);
    let at = 0;
    for (let stop = rest.indexOf('\n\n', at); stop >= 0; stop = rest.indexOf('\n\n', at)) {
      const bytes = Buffer.from(rest.subarray(at, stop + 1));
      const entry = decodeAt(index, bytes);
      demandPlace(entry, index, last);
      at = stop + 2;
      await onEntry({ index, entry, bytes, end: end + at });
      last = entry;
      index += 1;
    }
    end += at;
    rest = rest.subarray(at);
    if (rest.length > MAX_LOG_ENTRY) {
      throw new Refusal('malformed', `Entry ${index} of the log is longer than any entry.`, { index });
    }
  }
}

/** A disk that gives nothing where there is something must not make a log look shorter: its end would be cut off. */
async function demandEnd(entries: FileHandle, end: number): Promise<void> {
  const { size } = await entries.stat().catch((error: unknown) => {
    throw cannotRead(ENTRIES, error);
  });
  if (size <= end) return;
  throw new IoError(
    `The log's entries have ${size} bytes, and ${end} were read.`,
    LOG_FILES.entries,
    undefined,
  );
}

function decodeAt(index: number, bytes: Uint8Array): LogEntry {
  try {
    return decodeLogEntry(bytes);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `Entry ${index} of the log is malformed: ${error.message}.`, { index });
  }
}

function demandPlace(entry: LogEntry, index: number, last: LogEntry | undefined): void {
  if (entry.index !== index) {
    throw new Refusal(
      'drifted',
      `Entry ${entry.index} stands where entry ${index} of the log belongs: one was removed, added or moved.`,
      { index, found: entry.index },
    );
  }
  if (last && entry.time < last.time) {
    throw new Refusal('drifted', `Entry ${index} of the log is earlier than the one before it.`, { index });
  }
}

/** Hash of a range of leaves. Throws `drifted` where the file holds too few. */
export async function rangeHash(hashes: FileHandle, range: Range): Promise<Uint8Array> {
  return joinNodes(await readHashes(hashes, nodesOf(range)));
}

export async function readHashes(hashes: FileHandle, positions: readonly number[]): Promise<Uint8Array[]> {
  const found: Uint8Array[] = [];
  for (const position of positions) found.push(await readAt(hashes, position * HASH_OCTETS, HASH_OCTETS));
  return found;
}

/** Where an entry ends in `entries`; of -1: where the first begins. */
export async function readOffset(offsets: FileHandle, index: number): Promise<number> {
  if (index < 0) return 0;
  const octets = Buffer.from(await readAt(offsets, index * OFFSET_OCTETS, OFFSET_OCTETS));
  const offset = Number(octets.readBigUInt64BE());
  if (Number.isSafeInteger(offset)) return offset;
  throw new Refusal('drifted', `The log's offset of entry ${index} is none.`, { index });
}

async function readAt(handle: FileHandle, from: number, length: number): Promise<Uint8Array> {
  const bytes = await readFully('The log', handle, from, length);
  if (bytes.length === length) return bytes;
  throw new Refusal(
    'drifted',
    'The log is shorter than its own records say; "bootseal log check" tells more.',
    {},
  );
}

/** A list of seals that an entry names; undefined where it is gone or another. */
export async function readSealList(state: string, sha256: string): Promise<Uint8Array | undefined> {
  const bytes = (await recordsOf(state).get(logKey(LOG_FILES.seals, sha256)))?.bytes;
  if (!bytes || createHash('sha256').update(bytes).digest('hex') !== sha256) return undefined;
  return bytes;
}
