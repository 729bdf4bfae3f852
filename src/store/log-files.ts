import { createHash } from 'node:crypto';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { type CheckpointFile, decodeCheckpointFile } from '../formats/records/checkpoint.ts';
import { decodeLogEntry, type LogEntry, MAX_LOG_ENTRY } from '../formats/records/log-entry.ts';
import { HASH_OCTETS, joinNodes, nodesOf, type Range } from '../formats/records/merkle.ts';
import { decodeOr } from '../trust/check.ts';

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

/** Bytes read at a time. */
const CHUNK = 64 * 1024;

export function logPath(state: string, ...names: string[]): string {
  return join(state, 'log', ...names);
}

/** Opens a file of the log for reading. Throws `absent` where there is no log. */
export async function openLogFile(state: string, name: string): Promise<FileHandle> {
  return open(logPath(state, name), 'r').catch((error: NodeJS.ErrnoException) => {
    throw new Refusal('absent', `There is no log in ${state}: ${logPath(state, name)}: ${error.code}.`, {
      path: state,
    });
  });
}

/** The log's name. Throws `absent`, `malformed`. */
export async function readLogName(state: string): Promise<string> {
  const text = await readFile(logPath(state, LOG_FILES.name), 'latin1').catch(() => undefined);
  if (text === undefined) throw new Refusal('absent', `There is no log in ${state}.`, { path: state });
  const [, name] = /^([0-9a-f]{32})\n$/.exec(text) ?? [];
  if (name !== undefined) return name;
  throw new Refusal('malformed', `${logPath(state, LOG_FILES.name)} holds no name of a log.`, {
    path: state,
  });
}

/** The newest checkpoint, unverified, and its file's bytes; undefined where nobody signed one yet. Throws `malformed`. */
export async function readCheckpoint(
  state: string,
): Promise<{ file: CheckpointFile; bytes: Uint8Array } | undefined> {
  const path = logPath(state, LOG_FILES.checkpoint);
  const bytes = await readFile(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  return bytes && { file: decodeOr(path, () => decodeCheckpointFile(bytes)), bytes };
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
    const { bytesRead, buffer } = await entries.read(Buffer.alloc(CHUNK), 0, CHUNK, end + rest.length);
    if (bytesRead === 0) return end;
    rest = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
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
  const { bytesRead, buffer } = await handle.read(Buffer.alloc(length), 0, length, from);
  if (bytesRead === length) return buffer;
  throw new Refusal(
    'drifted',
    'The log is shorter than its own records say; "bootseal log check" tells more.',
    {},
  );
}

/** A list of seals that an entry names; undefined where it is gone or another. */
export async function readSealList(state: string, sha256: string): Promise<Uint8Array | undefined> {
  const bytes = await readFile(logPath(state, LOG_FILES.seals, sha256)).catch(() => undefined);
  if (!bytes || createHash('sha256').update(bytes).digest('hex') !== sha256) return undefined;
  return bytes;
}
