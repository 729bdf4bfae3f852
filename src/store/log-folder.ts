import type { FileHandle } from 'node:fs/promises';
import { cannotRead } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { readFully } from '../files/read-fully.ts';
import { isThere, readIfThere } from '../files/read-if-there.ts';
import { decodeLogEntry, type LogEntry, MAX_LOG_ENTRY } from '../formats/records/log-entry.ts';
import { HASH_OCTETS, type Range, storedHashes } from '../formats/records/merkle.ts';
import { decodeOr } from '../trust/check.ts';
import { recordsOf } from './folder-backend.ts';
import { LOG_FILES } from './log-files.ts';
import {
  logPath,
  OFFSET_OCTETS,
  octetsOf,
  openLogFile,
  rangeHash,
  readOffset,
  scanEntries,
} from './log-folder-files.ts';
import { FolderLogWriter } from './log-folder-writer.ts';
import type { FoundEntry, LogStore, LogWriter, RecordedNodes, Scanned } from './log-store.ts';

/** The log of a state folder: files that grow. */
export class FolderLog implements LogStore {
  readonly where: string;
  readonly records;

  constructor(state: string) {
    this.where = state;
    this.records = recordsOf(state);
  }

  begun(): Promise<boolean> {
    return isThere(logPath(this.where, LOG_FILES.entries));
  }

  /** By the offsets: an entry in the making is not counted. */
  async size(): Promise<number> {
    if (!(await this.begun())) return 0;
    return this.#with(LOG_FILES.offsets, async (offsets) => {
      const { size } = await offsets.stat().catch((error: unknown) => {
        throw cannotRead(logPath(this.where, LOG_FILES.offsets), error);
      });
      return Math.floor(size / OFFSET_OCTETS);
    });
  }

  /** By where the log's own offsets say that they stand: nothing else is read. */
  async entries(from: number, to: number): Promise<LogEntry[]> {
    const [begin, end] = await this.#with(LOG_FILES.offsets, async (offsets) => [
      await readOffset(offsets, from - 1),
      await readOffset(offsets, to - 1),
    ]);
    if (begin === undefined || end === undefined) throw odd(from);
    if (end < begin || end - begin > (to - from) * (MAX_LOG_ENTRY + 1)) throw odd(from);
    return this.#with(LOG_FILES.entries, async (file) => {
      const bytes = await readFully('The log', file, begin, end - begin);
      // An empty line stands behind each.
      const texts = bytes.toString('latin1').split('\n\n');
      if (texts.pop() !== '' || texts.length !== to - from) throw odd(from);
      return texts.map((text, at) => {
        const index = from + at;
        const entry = decodeOr(`Entry ${index} of the log`, () =>
          decodeLogEntry(Buffer.from(`${text}\n`, 'latin1')),
        );
        if (entry.index !== index) throw odd(index);
        return entry;
      });
    });
  }

  async scan(first: number, onEntry: (found: FoundEntry) => void | Promise<void>): Promise<Scanned> {
    const from =
      first === 0 ? 0 : await this.#with(LOG_FILES.offsets, (offsets) => readOffset(offsets, first - 1));
    return this.#with(LOG_FILES.entries, async (entries) => {
      let size = first;
      const whole = await scanEntries(entries, from, first, (found) => {
        size += 1;
        return onEntry(found);
      });
      return { size, torn: (await octetsOf(entries)) - whole };
    });
  }

  rangeHashes(ranges: readonly Range[]): Promise<Uint8Array[]> {
    return this.#with(LOG_FILES.hashes, async (hashes) => {
      const found: Uint8Array[] = [];
      for (const range of ranges) found.push(await rangeHash(hashes, range));
      return found;
    });
  }

  async recorded(): Promise<RecordedNodes> {
    return new RecordedInFiles(
      (await readIfThere(logPath(this.where, LOG_FILES.hashes))) ?? Buffer.alloc(0),
      (await readIfThere(logPath(this.where, LOG_FILES.offsets))) ?? Buffer.alloc(0),
    );
  }

  openToWrite(): Promise<LogWriter> {
    return FolderLogWriter.open(this.where);
  }

  async #with<T>(name: string, work: (file: FileHandle) => Promise<T>): Promise<T> {
    const file = await openLogFile(this.where, name);
    try {
      return await work(file);
    } finally {
      await file.close().catch(() => {});
    }
  }
}

class RecordedInFiles implements RecordedNodes {
  readonly #hashes: Buffer;
  readonly #offsets: Buffer;
  /** Where the entries that were asked for end. */
  #end = 0;

  constructor(hashes: Buffer, offsets: Buffer) {
    this.#hashes = hashes;
    this.#offsets = offsets;
  }

  async demand({ index, bytes }: FoundEntry, hashes: readonly Uint8Array[]): Promise<void> {
    this.#end += bytes.length + 1;
    // The next writer makes the records that a crash left out; a part of them is none yet.
    if (this.#offsets.length < (index + 1) * OFFSET_OCTETS) return;
    const from = storedHashes(index) * HASH_OCTETS;
    const stored = this.#hashes.subarray(from, from + hashes.length * HASH_OCTETS);
    if (Buffer.compare(stored, Buffer.concat(hashes)) !== 0)
      throw new Refusal('drifted', `Entry ${index} of the log is not the one that was recorded.`, { index });
    if (this.#offsets.readBigUInt64BE(index * OFFSET_OCTETS) !== BigInt(this.#end))
      throw new Refusal('drifted', `The log's offset of entry ${index} was changed.`, { index });
  }

  async demandNoMore(size: number): Promise<void> {
    const recorded = Math.floor(this.#offsets.length / OFFSET_OCTETS);
    if (recorded <= size) return;
    throw new Refusal(
      'drifted',
      `Entry ${size} of the log was taken away: ${recorded} were recorded, and ${size} are there.`,
      { index: size, recorded },
    );
  }
}

function odd(index: number): Refusal {
  return new Refusal(
    'drifted',
    `The log's offsets and its entries do not fit at entry ${index}; "bootseal log check" tells more.`,
    { index },
  );
}
