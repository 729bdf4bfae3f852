import { randomBytes } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { writeFully } from '../files/read-fully.ts';
import { encodeCheckpoint, encodeCheckpointFile } from '../formats/records/checkpoint.ts';
import { encodeLogEntry, type LogEntry } from '../formats/records/log-entry.ts';
import { HASH_OCTETS, hashesToStore, leafHash, leftOf, storedHashes } from '../formats/records/merkle.ts';
import { decodeOr } from '../trust/check.ts';
import { cleanFolder, recordsOf } from './folder-backend.ts';
import {
  findLogName,
  homeOf,
  LOG_FILES,
  logKey,
  nameTakenAway,
  notCheckpointed,
  readCheckpoint,
} from './log-files.ts';
import {
  logPath,
  OFFSET_OCTETS,
  rangeHash,
  readHashes,
  readOffset,
  scanEntries,
} from './log-folder-files.ts';
import type { LogWriter, MakeEntry, SignCheckpoint } from './log-store.ts';

/**
 * The log of a state folder, opened by its one writer, who holds the state's lock. An append reads and writes hashes in the
 * number of the size's binary digits.
 */
export class FolderLogWriter implements LogWriter {
  readonly #state: string;
  readonly #name: string;
  readonly #entries: FileHandle;
  readonly #offsets: FileHandle;
  readonly #hashes: FileHandle;
  /** Bytes of `entries`. */
  #end = 0;
  #size = 0;
  #last: LogEntry | undefined;

  private constructor(state: string, name: string, handles: readonly [FileHandle, FileHandle, FileHandle]) {
    this.#state = state;
    this.#name = name;
    [this.#entries, this.#offsets, this.#hashes] = handles;
  }

  /** Opens the log, or begins one; completes or cuts what a crash left unfinished. Throws as `recordAct`. */
  static async open(state: string): Promise<FolderLogWriter> {
    await makeFolders(logPath(state, LOG_FILES.seals));
    await cleanFolder(logPath(state));
    await cleanFolder(logPath(state, LOG_FILES.seals));
    const handles: FileHandle[] = [];
    try {
      const opened = async (name: string) => {
        const handle = await openToGrow(state, name);
        handles.push(handle);
        return handle;
      };
      const entries = await opened(LOG_FILES.entries);
      const offsets = await opened(LOG_FILES.offsets);
      const hashes = await opened(LOG_FILES.hashes);
      const name = (await findLogName(state)) ?? (await beginLog(state, entries));
      const log = new FolderLogWriter(state, name, [entries, offsets, hashes]);
      await log.#recover();
      await log.#demandCheckpointed();
      return log;
    } catch (error) {
      for (const handle of handles) await handle.close().catch(() => {});
      throw explain(error, logPath(state));
    }
  }

  get size(): number {
    return this.#size;
  }

  async append(make: MakeEntry): Promise<LogEntry> {
    const entry = make(this.#size, this.#last);
    const bytes = decodeOr('The log entry', () => encodeLogEntry(entry));
    const line = Buffer.concat([bytes, Buffer.from('\n')]);
    try {
      // The entry is the truth and is durable first; a crash from here on leaves it without its records.
      await writeFully(logPath(this.#state, LOG_FILES.entries), this.#entries, line, this.#end);
      await this.#entries.sync();
      await this.#keep(entry, bytes, this.#end + line.length);
      await this.#hashes.sync();
      await this.#offsets.sync();
    } catch (error) {
      throw explain(error, logPath(this.#state));
    }
    return entry;
  }

  async writeCheckpoint(sign: SignCheckpoint): Promise<void> {
    if (!this.#last) throw new RangeError('a log without entries has no checkpoint');
    const root = await rangeHash(this.#hashes, { from: 0, to: this.#size });
    const bytes = encodeCheckpoint({
      log: this.#name,
      size: this.#size,
      root: Buffer.from(root).toString('hex'),
      time: this.#last.time,
    });
    const file = encodeCheckpointFile(bytes, await sign(bytes));
    await recordsOf(this.#state).put(logKey(LOG_FILES.checkpoint), file);
  }

  async close(): Promise<void> {
    for (const handle of [this.#entries, this.#offsets, this.#hashes]) await handle.close().catch(() => {});
  }

  /** Writes what follows from an entry, and counts it. */
  async #keep(entry: LogEntry, bytes: Uint8Array, end: number): Promise<void> {
    const index = this.#size;
    const left = await readHashes(this.#hashes, leftOf(index));
    const hashes = Buffer.concat(hashesToStore(leafHash(bytes), left));
    await writeFully(
      logPath(this.#state, LOG_FILES.hashes),
      this.#hashes,
      hashes,
      storedHashes(index) * HASH_OCTETS,
    );
    const offset = Buffer.alloc(OFFSET_OCTETS);
    offset.writeBigUInt64BE(BigInt(end));
    await writeFully(logPath(this.#state, LOG_FILES.offsets), this.#offsets, offset, index * OFFSET_OCTETS);
    this.#size = index + 1;
    this.#end = end;
    this.#last = entry;
  }

  /**
   * After a crash: an entry may be torn, and is cut; it may be whole and without its offset and hashes, which are
   * made. Those of the last entry are made anew in any case, since a power cut may have left zeros there.
   */
  async #recover(): Promise<void> {
    const recorded = Math.floor((await this.#offsets.stat()).size / OFFSET_OCTETS);
    const { size: octets } = await this.#hashes.stat();
    let kept = Math.max(0, recorded - 1);
    if (storedHashes(kept) * HASH_OCTETS > octets) kept = 0;
    this.#size = kept;
    this.#end = await readOffset(this.#offsets, kept - 1);
    const from = this.#end;
    const whole = await scanEntries(this.#entries, from, kept, ({ entry, bytes, end }) =>
      this.#keep(entry, bytes, end),
    );
    // An entry is durable before its offset is written: no crash takes it away again.
    if (this.#size < recorded) {
      throw new Refusal(
        'drifted',
        `Entry ${this.#size} of the log was taken away: ${recorded} were recorded, and ${this.#size} are there.`,
        { index: this.#size, recorded },
      );
    }
    await this.#entries.truncate(whole);
    await this.#hashes.truncate(storedHashes(this.#size) * HASH_OCTETS);
    await this.#offsets.truncate(this.#size * OFFSET_OCTETS);
  }

  /** The log still is what its last checkpoint says. Otherwise the next one would put our name to a change. */
  async #demandCheckpointed(): Promise<void> {
    const found = await readCheckpoint(this.#state);
    if (!found) return;
    const { log, size, root } = found.file.checkpoint;
    const same =
      log === this.#name &&
      size <= this.#size &&
      Buffer.from(await rangeHash(this.#hashes, { from: 0, to: size })).toString('hex') === root;
    if (same) return;
    throw notCheckpointed(homeOf(this.#state), size, this.#size);
  }
}

/** A name first: whoever finds entries finds the name of their log. */
async function beginLog(state: string, entries: FileHandle): Promise<string> {
  if ((await entries.stat()).size > 0) throw nameTakenAway(homeOf(state));
  const name = randomBytes(16).toString('hex');
  await recordsOf(state).putIfAbsent(logKey(LOG_FILES.name), Buffer.from(`${name}\n`));
  return name;
}

async function openToGrow(state: string, name: string): Promise<FileHandle> {
  const path = logPath(state, name);
  try {
    return await open(path, 'r+');
  } catch (error) {
    if (!isAbsent(error)) throw explain(error, path);
  }
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, 'wx+', 0o644);
    await handle.chmod(0o644);
    await syncDirectory(logPath(state));
    return handle;
  } catch (error) {
    await handle?.close().catch(() => {});
    throw explain(error, path);
  }
}
