import { cannotRead } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { readFully } from '../files/read-fully.ts';
import { isThere } from '../files/read-if-there.ts';
import { decodeLogEntry, type LogEntry, MAX_LOG_ENTRY } from '../formats/records/log-entry.ts';
import { decodeOr } from '../trust/check.ts';
import { LOG_FILES, logPath, OFFSET_OCTETS, openLogFile, readCheckpoint, readOffset } from './log-files.ts';

/** Some entries of a log, as they stand there: whoever verifies reads all of it (`checkLog`). */
export interface LogPage {
  /** The newest first. */
  readonly entries: readonly LogEntry[];
  /** Entries of the whole log. */
  readonly size: number;
  /** Entries under the newest checkpoint, which is not verified: the first that waits for a signature has this index. */
  readonly signed: number;
}

/**
 * The newest entries, by where the log's own offsets say that they stand: nothing else is read.
 *
 * @param before only those of a smaller index.
 * @throws Refusal `malformed`, `drifted`; IoError.
 */
export async function readLogPage(state: string, most: number, before?: number): Promise<LogPage> {
  if (!(await isThere(logPath(state, LOG_FILES.entries)))) return { entries: [], size: 0, signed: 0 };
  // The checkpoint first: what is signed meanwhile may be told of as waiting, and nothing that waits is left out.
  const signed = (await readCheckpoint(state))?.file.checkpoint.size ?? 0;
  const offsets = await openLogFile(state, LOG_FILES.offsets);
  try {
    const { size: octets } = await offsets.stat().catch((error: unknown) => {
      throw cannotRead(logPath(state, LOG_FILES.offsets), error);
    });
    const size = Math.floor(octets / OFFSET_OCTETS);
    const to = Math.min(size, before ?? size);
    const from = Math.max(0, to - most);
    if (to <= from) return { entries: [], size, signed };
    const [begin, end] = [await readOffset(offsets, from - 1), await readOffset(offsets, to - 1)];
    if (end < begin || end - begin > (to - from) * (MAX_LOG_ENTRY + 1)) throw odd(from);
    return { entries: (await entriesAt(state, begin, end, from, to)).reverse(), size, signed };
  } finally {
    await offsets.close().catch(() => {});
  }
}

async function entriesAt(
  state: string,
  begin: number,
  end: number,
  from: number,
  to: number,
): Promise<LogEntry[]> {
  const file = await openLogFile(state, LOG_FILES.entries);
  try {
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
  } finally {
    await file.close().catch(() => {});
  }
}

function odd(index: number): Refusal {
  return new Refusal(
    'drifted',
    `The log's offsets and its entries do not fit at entry ${index}; "bootseal log check" tells more.`,
    { index },
  );
}
