import { Refusal } from '../errors/refusal.ts';
import type { LogEntry } from '../formats/records/log-entry.ts';
import { joinNodes, type Range, subtreesOf } from '../formats/records/merkle.ts';
import type { StoreBackend } from './backend.ts';
import {
  entryKey,
  entryRecord,
  findEnd,
  foundEntry,
  isEnd,
  nodesRecord,
  notAsRecorded,
  ReadAhead,
  readEntry,
  readNodes,
} from './log-bucket-objects.ts';
import { BucketLogWriter } from './log-bucket-writer.ts';
import {
  demandPlace,
  LOG_FILES,
  type LogHome,
  logKey,
  noLog,
  readCheckpoint,
  takenAway,
} from './log-files.ts';
import type { FoundEntry, LogStore, LogWriter, RecordedNodes, Scanned } from './log-store.ts';

/** The log of a bucket: an object for each entry. */
export class BucketLog implements LogStore {
  readonly records: StoreBackend;
  readonly where: string;

  constructor({ records, where }: LogHome) {
    this.records = records;
    this.where = where;
  }

  /** A name, entries and a head come in this order; whoever takes some of them away leaves a log all the same. */
  async begun(): Promise<boolean> {
    for (const key of [logKey(LOG_FILES.checkpoint), entryKey(0), logKey(LOG_FILES.name)])
      if (await this.records.facts(key)) return true;
    return false;
  }

  async size(): Promise<number> {
    const head = await readCheckpoint(this);
    return findEnd(this, head?.file.checkpoint.size ?? 0);
  }

  async entries(from: number, to: number): Promise<LogEntry[]> {
    const ahead = this.#ahead(to);
    const found: LogEntry[] = [];
    for (let index = from; index < to; index += 1) {
      const record = await ahead.at(index);
      if (!record)
        throw new Refusal('drifted', `Entry ${index} of the log was taken away: those after it are there.`, {
          index,
        });
      const { entry } = foundEntry(index, record);
      demandPlace(entry, index, found.at(-1));
      found.push(entry);
    }
    return found;
  }

  async scan(first: number, onEntry: (found: FoundEntry) => void | Promise<void>): Promise<Scanned> {
    let last: LogEntry | undefined;
    if (first > 0) {
      const before = await readEntry(this, first - 1);
      if (!before) throw takenAway(this, first, first - 1);
      demandPlace(before.entry, first - 1, undefined);
      last = before.entry;
    } else if (!(await this.begun())) throw noLog(this);
    const ahead = this.#ahead();
    for (let index = first; ; ) {
      const record = await ahead.at(index);
      if (!record) {
        if (await isEnd(this, index)) return { size: index, torn: 0 };
        continue;
      }
      const found = foundEntry(index, record);
      demandPlace(found.entry, index, last);
      await onEntry(found);
      last = found.entry;
      index += 1;
    }
  }

  rangeHashes(ranges: readonly Range[]): Promise<Uint8Array[]> {
    return Promise.all(
      ranges.map(async (range) => {
        const nodes = subtreesOf(range).map(async ({ last, level }) => {
          const hash = (await readNodes(this, last))[level];
          if (!hash) throw notAsRecorded(last);
          return hash;
        });
        return joinNodes(await Promise.all(nodes));
      }),
    );
  }

  async recorded(): Promise<RecordedNodes> {
    return new RecordedInObjects(this);
  }

  openToWrite(): Promise<LogWriter> {
    return BucketLogWriter.open(this);
  }

  #ahead(end?: number): ReadAhead {
    return new ReadAhead((index) => entryRecord(this, index), end);
  }
}

class RecordedInObjects implements RecordedNodes {
  readonly #home: LogHome;
  readonly #ahead: ReadAhead;
  /** What follows from the last entry that was asked for, where nothing was recorded of it. */
  #left: { readonly index: number; readonly hashes: Uint8Array } | undefined;

  constructor(home: LogHome) {
    this.#home = home;
    this.#ahead = new ReadAhead((index) => nodesRecord(home, index));
  }

  async demand({ index }: FoundEntry, hashes: readonly Uint8Array[]): Promise<void> {
    await this.#demandLeft();
    const expected = Buffer.concat(hashes);
    const stored = await this.#ahead.at(index);
    if (!stored) this.#left = { index, hashes: expected };
    else if (Buffer.compare(stored.bytes, expected) !== 0) throw notAsRecorded(index);
  }

  async demandNoMore(size: number): Promise<void> {
    await isEnd(this.#home, size);
  }

  /** Of the last entry alone a writer that died may have recorded nothing: the next one begins with that. */
  async #demandLeft(): Promise<void> {
    if (!this.#left) return;
    const { index, hashes } = this.#left;
    const stored = await nodesRecord(this.#home, index);
    if (!stored)
      throw new Refusal('drifted', `What was recorded of entry ${index} of the log was taken away.`, {
        index,
      });
    if (Buffer.compare(stored.bytes, hashes) !== 0) throw notAsRecorded(index);
    this.#left = undefined;
  }
}
