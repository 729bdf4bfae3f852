import { createHash } from 'node:crypto';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { type CheckpointFile, decodeCheckpointFile } from '../formats/records/checkpoint.ts';
import { decodeLogEntry, type LogEntry } from '../formats/records/log-entry.ts';
import { MAX_SEAL_LIST } from '../formats/records/seal-list.ts';
import { decodeOr } from '../trust/check.ts';
import type { StoreBackend } from './backend.ts';
import { recordsOf } from './folder-backend.ts';

/**
 * The log at rest, below `log/`. In a folder and in a bucket alike:
 *
 *     name         32 hex digits, drawn when the log began
 *     checkpoint   the newest, with its seal: the head
 *     seals/…      lists of seals that entries name, each under its SHA-256
 *
 * The entries and what follows from them lie in files that grow (`log-folder-files.ts`), or as one object each
 * (`log-bucket-objects.ts`).
 */
export const LOG_FILES = {
  name: 'name',
  entries: 'entries',
  offsets: 'offsets',
  hashes: 'hashes',
  nodes: 'nodes',
  checkpoint: 'checkpoint',
  seals: 'seals',
} as const;

/** Where a log's records are. */
export interface LogHome {
  readonly records: StoreBackend;
  /** The state, for messages. */
  readonly where: string;
}

/** A state by its name, or where the records of its log are. */
export type LogPlace = string | LogHome;

export function homeOf(place: LogPlace): LogHome {
  return typeof place === 'string' ? { records: recordsOf(place), where: place } : place;
}

/** The key of one of the log's records. */
export function logKey(...names: string[]): string {
  return ['log', ...names].join('/');
}

/** Where one of them lies, for messages. */
export function logPlace({ where }: LogHome, ...names: string[]): string {
  return `${where.replace(/\/+$/, '')}/${logKey(...names)}`;
}

/** The log's name; undefined where it has none yet. Throws `malformed`. */
export async function findLogName(place: LogPlace): Promise<string | undefined> {
  const home = homeOf(place);
  const record = await home.records.get(logKey(LOG_FILES.name));
  if (!record) return undefined;
  const [, name] = /^([0-9a-f]{32})\n$/.exec(Buffer.from(record.bytes).toString('latin1')) ?? [];
  if (name !== undefined) return name;
  throw new Refusal('malformed', `${logPlace(home, LOG_FILES.name)} holds no name of a log.`, {
    path: home.where,
  });
}

/** The log's name. Throws `absent`, `malformed`. */
export async function readLogName(place: LogPlace): Promise<string> {
  const name = await findLogName(place);
  if (name !== undefined) return name;
  throw noLog(homeOf(place));
}

export function noLog({ where }: LogHome): Refusal {
  return new Refusal('absent', `There is no log in ${where}.`, { path: where });
}

export interface StoredCheckpoint {
  readonly file: CheckpointFile;
  /** Of the file. */
  readonly bytes: Uint8Array;
  /** What the store knows these bytes by. */
  readonly version: string;
}

/** The newest checkpoint, unverified; undefined where nobody signed one yet. Throws `malformed`. */
export async function readCheckpoint(place: LogPlace): Promise<StoredCheckpoint | undefined> {
  const home = homeOf(place);
  const record = await home.records.get(logKey(LOG_FILES.checkpoint));
  if (!record) return undefined;
  const { bytes, version } = record;
  const file = decodeOr(logPlace(home, LOG_FILES.checkpoint), () => decodeCheckpointFile(bytes));
  return { file, bytes, version };
}

/** A list of seals that an entry names; undefined where it is gone or another. */
export async function readSealList(place: LogPlace, sha256: string): Promise<Uint8Array | undefined> {
  const bytes = await homeOf(place)
    .records.get(logKey(LOG_FILES.seals, sha256), MAX_SEAL_LIST)
    .then(
      (record) => record?.bytes,
      (error: unknown) => {
        if (error instanceof Refusal && error.code === 'too-large') return undefined;
        throw error;
      },
    );
  if (!bytes || createHash('sha256').update(bytes).digest('hex') !== sha256) return undefined;
  return bytes;
}

/** Keeps a list of seals; answers its SHA-256, lower-case hex. */
export async function keepSealList(place: LogPlace, list: Uint8Array): Promise<string> {
  const name = createHash('sha256').update(list).digest('hex');
  await homeOf(place).records.putIfAbsent(logKey(LOG_FILES.seals, name), list);
  return name;
}

/** Throws `malformed`, with the index. */
export function decodeEntryAt(index: number, bytes: Uint8Array): LogEntry {
  try {
    return decodeLogEntry(bytes);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw new Refusal('malformed', `Entry ${index} of the log is malformed: ${error.message}.`, { index });
  }
}

/** An entry is in its place, and not earlier than the one before it. Throws `drifted`. */
export function demandPlace(entry: LogEntry, index: number, last: LogEntry | undefined): void {
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

/** Whoever finds fewer entries than the head says refuses: it may lag behind them, and never leads. */
export function takenAway(home: LogHome, size: number, index: number): Refusal {
  return new Refusal(
    'drifted',
    `The checkpoint in ${logPlace(home, LOG_FILES.checkpoint)} is over ${size} entries, and entry ${index} is not there: it was taken away.`,
    { index, checkpoint: size },
  );
}

/** Whoever would add to a log that is not what its checkpoint says would put our name to a change. */
export function notCheckpointed({ where }: LogHome, size: number, entries: number): Refusal {
  return new Refusal(
    'drifted',
    `The log in ${where} is not what its checkpoint of ${size} entries says, and nothing is added to it; "bootseal log check" tells more.`,
    { size, entries },
  );
}

/** There are entries, and nothing says of which log. */
export function nameTakenAway({ where }: LogHome): Refusal {
  return new Refusal('drifted', `The log in ${where} has entries and no name: it was taken away.`, {
    path: where,
  });
}
