import { Refusal } from '../errors/refusal.ts';
import { MAX_LOG_ENTRY } from '../formats/records/log-entry.ts';
import { HASH_OCTETS, leftOf, MAX_PROOF, subtreesOf } from '../formats/records/merkle.ts';
import { MerkleFrontier } from '../formats/records/merkle-frontier.ts';
import type { StoredRecord } from './backend.ts';
import { decodeEntryAt, LOG_FILES, type LogHome, logKey, takenAway } from './log-files.ts';
import type { FoundEntry } from './log-store.ts';

/**
 * The entries of a log in a bucket, each written once, where there is none:
 *
 *     entries/000000000000042   the entry: the truth. Whoever takes the next index has appended
 *     nodes/000000000000042     32 bytes each: its leaf hash, then those of the subtrees that it completes
 *
 * Nobody appends before the nodes of the last entry are there, so a writer that dies leaves out those of the last one and
 * no others. The head (`log/checkpoint`) moves after both: it may lag behind the entries and never leads.
 */

/** Bytes: a leaf may complete a subtree of each level. */
const MAX_NODES = (MAX_PROOF + 1) * HASH_OCTETS;
/** Digits of an index in a key: enough for any, and names sort as numbers do. */
const DIGITS = 15;

export function entryKey(index: number): string {
  return logKey(LOG_FILES.entries, String(index).padStart(DIGITS, '0'));
}

export function nodesKey(index: number): string {
  return logKey(LOG_FILES.nodes, String(index).padStart(DIGITS, '0'));
}

/** Undefined where there is none. Throws `malformed`, with the index. */
export async function readEntry(home: LogHome, index: number): Promise<FoundEntry | undefined> {
  const record = await entryRecord(home, index);
  return record && foundEntry(index, record);
}

/** Whoever writes into the bucket may have made it as long as he likes. Throws `malformed`. */
export function entryRecord({ records }: LogHome, index: number): Promise<StoredRecord | undefined> {
  return records.get(entryKey(index), MAX_LOG_ENTRY).catch((error: unknown) => {
    if (!(error instanceof Refusal && error.code === 'too-large')) throw error;
    throw new Refusal('malformed', `Entry ${index} of the log is longer than any entry.`, { index });
  });
}

/** What was recorded of an entry. Throws `drifted` for what is longer than that. */
export function nodesRecord({ records }: LogHome, index: number): Promise<StoredRecord | undefined> {
  return records.get(nodesKey(index), MAX_NODES).catch((error: unknown) => {
    if (!(error instanceof Refusal && error.code === 'too-large')) throw error;
    throw notAsRecorded(index);
  });
}

export function foundEntry(index: number, { bytes }: StoredRecord): FoundEntry {
  return { index, entry: decodeEntryAt(index, bytes), bytes };
}

/** The hashes of an entry's leaf and of the subtrees that it completes, as recorded. Throws `drifted`. */
export async function readNodes(home: LogHome, index: number): Promise<readonly Uint8Array[]> {
  const record = await nodesRecord(home, index);
  if (record) return splitNodes(index, record.bytes);
  throw new Refusal(
    'drifted',
    `The log lacks what was recorded of entry ${index}; "bootseal log check" tells more.`,
    { index },
  );
}

function splitNodes(index: number, bytes: Uint8Array): readonly Uint8Array[] {
  const count = leftOf(index).length + 1;
  if (bytes.length !== count * HASH_OCTETS) throw notAsRecorded(index);
  return Array.from({ length: count }, (_, at) => bytes.subarray(at * HASH_OCTETS, (at + 1) * HASH_OCTETS));
}

export function notAsRecorded(index: number): Refusal {
  return new Refusal('drifted', `Entry ${index} of the log is not the one that was recorded.`, { index });
}

/** The tree over the first so many entries, by what was recorded: it reads one object for each 1 among its binary digits. */
export async function readFrontier(home: LogHome, size: number): Promise<MerkleFrontier> {
  const peaks = subtreesOf({ from: 0, to: size }).map(async ({ last, level }) => {
    const hash = (await readNodes(home, last))[level];
    if (!hash) throw notAsRecorded(last);
    return hash;
  });
  return new MerkleFrontier(size, await Promise.all(peaks));
}

/**
 * How many entries there are. Looks at the last one that the head is over, and from there on at each that is twice as far
 * away, until one is not there: a log whose head is the newest costs two questions.
 *
 * @param signed entries that the head is over.
 * @throws Refusal `drifted` where the head leads.
 */
export async function findEnd(home: LogHome, signed: number): Promise<number> {
  const isThere = async (index: number) => (await home.records.facts(entryKey(index))) !== undefined;
  const [covered, next] = await Promise.all([signed === 0 || isThere(signed - 1), isThere(signed)]);
  if (!covered) throw takenAway(home, signed, signed - 1);
  if (!next) return signed;
  // Entries before `size` are there, and entry `absent` is not.
  let size = signed + 1;
  let step = 2;
  while (await isThere(size + step - 1)) {
    size += step;
    step *= 2;
  }
  let absent = size + step - 1;
  while (size < absent) {
    const middle = Math.floor((size + absent) / 2);
    if (await isThere(middle)) size = middle + 1;
    else absent = middle;
  }
  return size;
}

/**
 * Of an entry that is not there: whether the log ends before it. False where somebody has appended it meanwhile.
 *
 * @throws Refusal `drifted` where what follows from it, or the entry after it, is there: it was taken away.
 */
export async function isEnd(home: LogHome, index: number): Promise<boolean> {
  const { records } = home;
  const after = [nodesKey(index), entryKey(index + 1)].map((key) => records.facts(key));
  const isFollowed = (await Promise.all(after)).some((facts) => facts !== undefined);
  if (!isFollowed) return true;
  if (await records.facts(entryKey(index))) return false;
  throw new Refusal(
    'drifted',
    `Entry ${index} of the log was taken away: what was recorded after it is there.`,
    { index },
  );
}

/** Objects that are read at a time. */
const MOST_AHEAD = 16;

/** Objects by index, one after the other, where the next ones are on their way already. */
export class ReadAhead {
  readonly #read: (index: number) => Promise<StoredRecord | undefined>;
  readonly #end: number;
  readonly #coming = new Map<number, Promise<StoredRecord | undefined>>();
  /** How many at a time: few are asked for in vain where there are few. */
  #width = 1;

  /** @param end none is asked for from here on; default: nobody knows how many there are. */
  constructor(
    read: (index: number) => Promise<StoredRecord | undefined>,
    end: number = Number.POSITIVE_INFINITY,
  ) {
    this.#read = read;
    this.#end = end;
  }

  /** @param index not smaller than that of the call before. */
  async at(index: number): Promise<StoredRecord | undefined> {
    const early = this.#coming.get(index);
    const found = (await (early ?? this.#begin(index))) ?? (early && (await this.#read(index)));
    this.#coming.delete(index);
    if (!found) return undefined;
    this.#width = Math.min(2 * this.#width, MOST_AHEAD);
    const to = Math.min(index + this.#width, this.#end);
    for (let next = index + 1; next < to; next += 1) if (!this.#coming.has(next)) void this.#begin(next);
    return found;
  }

  #begin(index: number): Promise<StoredRecord | undefined> {
    const coming = this.#read(index);
    // Told to whoever asks for it, if anybody does.
    coming.catch(() => {});
    this.#coming.set(index, coming);
    return coming;
  }
}
