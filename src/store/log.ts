import { createHash, randomBytes } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { isAbsent } from '../errors/io.ts';
import { Malformed } from '../errors/malformed.ts';
import { Refusal } from '../errors/refusal.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { writeFully } from '../files/read-fully.ts';
import { encodeCheckpoint, encodeCheckpointFile } from '../formats/records/checkpoint.ts';
import {
  type ActKind,
  encodeLogEntry,
  type LogEntry,
  type LoggedFile,
  MAX_MESSAGE,
  MAX_ORIGIN,
} from '../formats/records/log-entry.ts';
import { HASH_OCTETS, hashesToStore, leafHash, leftOf, storedHashes } from '../formats/records/merkle.ts';
import { encodeSealList } from '../formats/records/seal-list.ts';
import { decodeOr } from '../trust/check.ts';
import { cleanFolder, recordsOf } from './folder-backend.ts';
import {
  findLogName,
  LOG_FILES,
  logKey,
  logPath,
  OFFSET_OCTETS,
  rangeHash,
  readCheckpoint,
  readHashes,
  readOffset,
  scanEntries,
} from './log-files.ts';

/** Something that happened to releases, channels or files, on its way into the log. */
export interface Act {
  /** Milliseconds since 1970: what the machine's clock says. */
  readonly time: number;
  readonly act: ActKind;
  readonly channel?: string | undefined;
  readonly release?: string | undefined;
  /** SHA-256 of the release's manifest, lower-case hex. */
  readonly manifest?: string | undefined;
  readonly serial?: number | undefined;
  readonly counter?: number | undefined;
  readonly rollbackFrom?: string | undefined;
  /** Where it came from. Text: what is not printable ASCII is escaped, what is too long is cut. */
  readonly origin?: string | undefined;
  /** Every script, record and seal of the release, by path: with them a proof can speak for the whole of it. */
  readonly seals?: ReadonlyMap<string, Uint8Array> | undefined;
  /** SHA-256 of certificates, fingerprints of OpenPGP keys: lower-case hex. */
  readonly signers?: readonly string[] | undefined;
  /** The one file that it is about. */
  readonly file?: LoggedFile | undefined;
  readonly refusal?: Refusal | undefined;
}

/** Signs a checkpoint's bytes; answers a detached CMS. The key is not this floor's business. */
export type SignCheckpoint = (checkpoint: Uint8Array) => Promise<Uint8Array>;

/**
 * Appends an act to the log of a state folder, which the caller has opened (`openState`); durable when it
 * resolves. With `sign` there is a new checkpoint, over every entry that had none.
 *
 * @throws Refusal `drifted`, `malformed` where the log is not what it was: nothing is added to it then, and no
 *   checkpoint covers up for what was changed.
 */
export async function recordAct(state: string, act: Act, sign?: SignCheckpoint): Promise<LogEntry> {
  const [entry] = await recordActs(state, [act], sign);
  if (!entry) throw new RangeError('an act has an entry');
  return entry;
}

/** The same for several, in their order, under one checkpoint. */
export async function recordActs(
  state: string,
  acts: readonly Act[],
  sign?: SignCheckpoint,
): Promise<LogEntry[]> {
  const log = await TransparencyLog.open(state);
  try {
    const entries: LogEntry[] = [];
    for (const act of acts) entries.push(await log.append(act));
    if (sign) await log.writeCheckpoint(sign);
    return entries;
  } finally {
    await log.close();
  }
}

/** The log, opened by its one writer. An append reads and writes hashes in the number of the size's binary digits. */
export class TransparencyLog {
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
  static async open(state: string): Promise<TransparencyLog> {
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
      const log = new TransparencyLog(state, name, [entries, offsets, hashes]);
      await log.#recover();
      await log.#demandCheckpointed();
      return log;
    } catch (error) {
      for (const handle of handles) await handle.close().catch(() => {});
      throw explain(error, logPath(state));
    }
  }

  /** Entries. */
  get size(): number {
    return this.#size;
  }

  async append(act: Act): Promise<LogEntry> {
    const entry = await this.#entryOf(act);
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

  /** Signs what the log is now and makes it the checkpoint. */
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

  async #entryOf({ time: now, seals, signers = [], origin, refusal, ...rest }: Act): Promise<LogEntry> {
    const clock = Math.floor(now / 1000) * 1000;
    // A clock that was set back must not silence the log, nor make an act older than what came before it.
    const time = Math.max(clock, this.#last?.time ?? clock);
    return {
      ...rest,
      index: this.#size,
      time,
      ...(clock < time ? { clock } : {}),
      origin: origin === undefined ? undefined : plain(origin, MAX_ORIGIN),
      seals: seals && (await this.#keepSeals(seals)),
      signers,
      refusal: refusal && { code: refusal.code, message: plain(refusal.message, MAX_MESSAGE) },
    };
  }

  /** Stores the list of seals; undefined where there are more than a list holds. */
  async #keepSeals(small: ReadonlyMap<string, Uint8Array>): Promise<string | undefined> {
    const digests = [...small].map(([path, bytes]) => [path, sha256(bytes)] as const);
    try {
      const list = encodeSealList(new Map(digests));
      const name = sha256(list);
      await recordsOf(this.#state).putIfAbsent(logKey(LOG_FILES.seals, name), list);
      return name;
    } catch (error) {
      if (error instanceof Malformed) return undefined;
      throw error;
    }
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
    throw new Refusal(
      'drifted',
      `The log in ${this.#state} is not what its checkpoint of ${size} entries says, and nothing is added to it; "bootseal log check" tells more.`,
      { size, entries: this.#size },
    );
  }
}

/** A name first: whoever finds entries finds the name of their log. */
async function beginLog(state: string, entries: FileHandle): Promise<string> {
  if ((await entries.stat()).size > 0) {
    throw new Refusal('drifted', `The log in ${state} has entries and no name: it was taken away.`, {
      path: state,
    });
  }
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

/** One line of printable ASCII. For people: what was escaped need not be read back. */
function plain(text: string, most: number): string {
  const line = text
    .replaceAll('’', "'")
    .replace(/[^ -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
    .trim();
  if (line === '') return '-';
  return line.length <= most ? line : `${line.slice(0, most - 3).trimEnd()}...`;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
