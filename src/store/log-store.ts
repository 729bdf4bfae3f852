import type { LogEntry } from '../formats/records/log-entry.ts';
import type { Range } from '../formats/records/merkle.ts';
import type { LogHome } from './log-files.ts';

export interface FoundEntry {
  readonly index: number;
  readonly entry: LogEntry;
  /** Its canonical form. */
  readonly bytes: Uint8Array;
}

/** Where a scan came to its end. */
export interface Scanned {
  /** Entries of the whole log. */
  readonly size: number;
  /** Bytes of an entry that is being written, or was when its writer died; a bucket has none. */
  readonly torn: number;
}

/** Signs a checkpoint's bytes; answers a detached CMS. The key is not this floor's business. */
export type SignCheckpoint = (checkpoint: Uint8Array) => Promise<Uint8Array>;

/**
 * The entries of one log and what follows from them, however they are kept. Nothing that is read here is verified but what
 * is named: whoever wants a verdict asks `auditLog`.
 */
export interface LogStore extends LogHome {
  /** False where nothing was ever logged. */
  begun(): Promise<boolean>;

  /** Entries, as far as they can be told without reading them; 0 where there is no log. Throws `drifted`. */
  size(): Promise<number>;

  /** Those from `from` up to, and without, `to`, which are fewer than a page has. Throws `malformed`, `drifted`. */
  entries(from: number, to: number): Promise<LogEntry[]>;

  /**
   * Goes through the entries from one on, in their order. Each is canonical, at its place, and not earlier than the one
   * before it.
   *
   * @param first 0, or fewer than the checkpoint is over.
   * @throws Refusal `absent` where there is no log; `malformed`, `drifted`, with the index.
   */
  scan(first: number, onEntry: (found: FoundEntry) => void | Promise<void>): Promise<Scanned>;

  /** Hashes of ranges of leaves (RFC 9162 §2.1.1), by what was recorded. Throws `drifted` where too little was. */
  rangeHashes(ranges: readonly Range[]): Promise<Uint8Array[]>;

  /** What was recorded with the entries, for who goes through all of them. */
  recorded(): Promise<RecordedNodes>;

  /** Opens the log for appending, or begins one; completes what a crash left unfinished. Throws as `recordAct`. */
  openToWrite(): Promise<LogWriter>;
}

/** What was recorded beside the entries, to be held against what follows from them. */
export interface RecordedNodes {
  /**
   * What was recorded of an entry, the next one after the last that was asked for, is what follows from it. A writer that
   * died may have left out the records of the last one.
   *
   * @param hashes of the leaf and the subtrees that it completes (`hashesToStore`).
   * @throws Refusal `drifted`, with the index.
   */
  demand(found: FoundEntry, hashes: readonly Uint8Array[]): Promise<void>;

  /** Nothing was recorded of entries that are not there. Throws `drifted`. */
  demandNoMore(size: number): Promise<void>;
}

/** Makes the entry for a place in the log. Called again with another where somebody else took that place. */
export type MakeEntry = (index: number, last: LogEntry | undefined) => LogEntry;

/** The log as one of its writers has it open. */
export interface LogWriter {
  /** Entries, as this writer knows. */
  readonly size: number;

  /**
   * Appends; durable when it resolves.
   *
   * @throws Refusal `malformed` for an entry that has no form; `drifted` where the log is not what it was.
   */
  append(make: MakeEntry): Promise<LogEntry>;

  /** Signs what the log is now and makes it the checkpoint. Throws `drifted`. */
  writeCheckpoint(sign: SignCheckpoint): Promise<void>;

  close(): Promise<void>;
}
