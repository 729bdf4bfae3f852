import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotRead, IoError, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { readFully } from '../files/read-fully.ts';
import { type LogEntry, MAX_LOG_ENTRY } from '../formats/records/log-entry.ts';
import { HASH_OCTETS, joinNodes, nodesOf, type Range } from '../formats/records/merkle.ts';
import { decodeEntryAt, demandPlace, LOG_FILES } from './log-files.ts';
import type { FoundEntry } from './log-store.ts';

/**
 * The entries of a log in a folder, below `STATE/log/`:
 *
 *     entries      every entry, an empty line after each: the truth; the others follow from it
 *     offsets      8 bytes an entry, big-endian: where it ends in `entries`
 *     hashes       32 bytes each, in the order of `formats/merkle.ts`
 *
 * They only grow. Nothing here takes the state's lock: whoever writes holds it.
 */
export const OFFSET_OCTETS = 8;

/** For messages. */
const ENTRIES = 'log/entries';
/** Bytes read at a time. */
const CHUNK = 64 * 1024;

export function logPath(state: string, ...names: string[]): string {
  return join(state, 'log', ...names);
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

/** An entry, and where it lies. */
export interface PlacedEntry extends FoundEntry {
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
  onEntry: (found: PlacedEntry) => void | Promise<void>,
): Promise<number> {
  let rest = Buffer.alloc(0);
  let end = from;
  let index = first;
  let last: LogEntry | undefined;
  for (;;) {
    const piece = await pieceAt(entries, end + rest.length);
    if (piece.length === 0) return end;
    rest = Buffer.concat([rest, piece]);
    let at = 0;
    for (let stop = rest.indexOf('\n\n', at); stop >= 0; stop = rest.indexOf('\n\n', at)) {
      const bytes = Buffer.from(rest.subarray(at, stop + 1));
      const entry = decodeEntryAt(index, bytes);
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

/** Bytes of `entries`, an entry in the making among them. @throws IoError */
export async function octetsOf(entries: FileHandle): Promise<number> {
  try {
    return (await entries.stat()).size;
  } catch (error) {
    throw cannotRead(ENTRIES, error);
  }
}

/**
 * The next bytes of the entries; none at their end. A disk that gives nothing where there is something must not make a log
 * look shorter: its end would be cut off. @throws IoError
 */
async function pieceAt(entries: FileHandle, at: number): Promise<Buffer> {
  const piece = await readFully(ENTRIES, entries, at, CHUNK);
  if (piece.length > 0) return piece;
  const size = await octetsOf(entries);
  if (size <= at) return piece;
  // Whoever writes may have added an entry since.
  const more = await readFully(ENTRIES, entries, at, CHUNK);
  if (more.length > 0) return more;
  throw new IoError(
    `The log's entries have ${size} bytes, and ${at} were read.`,
    LOG_FILES.entries,
    undefined,
  );
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
