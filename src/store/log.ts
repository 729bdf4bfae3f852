import { createHash } from 'node:crypto';
import { Malformed } from '../errors/malformed.ts';
import type { Refusal } from '../errors/refusal.ts';
import {
  type ActKind,
  type LogEntry,
  type LoggedFile,
  MAX_MESSAGE,
  MAX_ORIGIN,
} from '../formats/records/log-entry.ts';
import { encodeSealList } from '../formats/records/seal-list.ts';
import { keepSealList } from './log-files.ts';
import { logOf } from './log-of.ts';
import type { LogStore, LogWriter, SignCheckpoint } from './log-store.ts';

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

/**
 * Appends an act to the log of a state, which the caller has opened (`openState`); durable when it resolves. With `sign`
 * there is a new checkpoint, over every entry that had none. In a bucket others may append meanwhile: the entry then has
 * the next index that is free.
 *
 * @throws Refusal `drifted`, `malformed` where the log is not what it was: nothing is added to it then, and no
 *   checkpoint covers up for what was changed.
 */
export async function recordAct(
  state: string | LogStore,
  act: Act,
  sign?: SignCheckpoint,
): Promise<LogEntry> {
  const [entry] = await recordActs(state, [act], sign);
  if (!entry) throw new RangeError('an act has an entry');
  return entry;
}

/** The same for several, in their order, under one checkpoint. */
export async function recordActs(
  state: string | LogStore,
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

/** The log, opened by one of its writers. */
export class TransparencyLog {
  readonly #log: LogStore;
  readonly #writer: LogWriter;

  private constructor(log: LogStore, writer: LogWriter) {
    this.#log = log;
    this.#writer = writer;
  }

  /** Opens the log, or begins one; completes or cuts what a crash left unfinished. Throws as `recordAct`. */
  static async open(state: string | LogStore): Promise<TransparencyLog> {
    const log = logOf(state);
    return new TransparencyLog(log, await log.openToWrite());
  }

  /** Entries. */
  get size(): number {
    return this.#writer.size;
  }

  async append(act: Act): Promise<LogEntry> {
    const seals = act.seals && (await this.#keepSeals(act.seals));
    return this.#writer.append((index, last) => entryOf(act, seals, index, last));
  }

  /** Signs what the log is now and makes it the checkpoint. */
  writeCheckpoint(sign: SignCheckpoint): Promise<void> {
    return this.#writer.writeCheckpoint(sign);
  }

  close(): Promise<void> {
    return this.#writer.close();
  }

  /** Stores the list of seals; undefined where there are more than a list holds. */
  async #keepSeals(small: ReadonlyMap<string, Uint8Array>): Promise<string | undefined> {
    const digests = [...small].map(([path, bytes]) => [path, sha256(bytes)] as const);
    try {
      return await keepSealList(this.#log, encodeSealList(new Map(digests)));
    } catch (error) {
      if (error instanceof Malformed) return undefined;
      throw error;
    }
  }
}

function entryOf(
  { time: now, seals: _, signers = [], origin, refusal, ...rest }: Act,
  seals: string | undefined,
  index: number,
  last: LogEntry | undefined,
): LogEntry {
  const clock = Math.floor(now / 1000) * 1000;
  // A clock that was set back must not silence the log, nor make an act older than what came before it.
  const time = Math.max(clock, last?.time ?? clock);
  return {
    ...rest,
    index,
    time,
    ...(clock < time ? { clock } : {}),
    origin: origin === undefined ? undefined : plain(origin, MAX_ORIGIN),
    seals,
    signers,
    refusal: refusal && { code: refusal.code, message: plain(refusal.message, MAX_MESSAGE) },
  };
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
