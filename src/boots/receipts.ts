import { Malformed } from '../errors/malformed.ts';
import { type BootCounts, BootIndex } from './boot-index.ts';
import type { BootQuery } from './boot-query.ts';
import { decodeReceipt, decodeReceiptHead, HEAD_BYTES, type Receipt } from './receipt.ts';
import { folderShelf, type SegmentShelf } from './segment-shelf.ts';
import { type Place, SEGMENT_MS, seriesOf, timeOfName } from './segments.ts';

/** Boots begin before they are written down: how much older than its segment one may be. Milliseconds. */
const LATE_MS = 86_400_000;

/** The receipts of all servers of a state, as far as they are written down; for whoever reads beside them. */
export class Receipts {
  readonly #shelf: SegmentShelf;
  readonly index: BootIndex;
  /** By segment, up to where it was read. */
  readonly #read = new Map<string, number>();

  /** @param where a folder (`STATE/boots`), or a shelf of segments. @param index where it is put; a server's holds what is not written yet, too. */
  constructor(where: string | SegmentShelf, index = new BootIndex()) {
    this.#shelf = typeof where === 'string' ? folderShelf(where) : where;
    this.index = index;
  }

  /**
   * Reads what was written since the last time.
   *
   * @param since milliseconds since 1970: older segments are not opened.
   * @param except a series that somebody else tells of.
   * @param signal ends it between two segments: what comes next reads on.
   * @returns ids of the boots that were read, in the order of their lines; each once.
   * @throws IoError
   */
  async read(since = 0, except?: string, signal?: AbortSignal): Promise<ReadonlySet<string>> {
    const told = new Set<string>();
    const segments = await this.#shelf.list();
    const there = new Set(segments);
    const gone = new Set([...this.#read.keys()].filter((segment) => !there.has(segment)));
    if (gone.size > 0) this.index.dropSegments(gone);
    for (const segment of gone) this.#read.delete(segment);
    for (const segment of inOrder(segments, since)) {
      if (signal?.aborted) break;
      if (seriesOf(segment) === except) continue;
      const from = this.#read.get(segment) ?? 0;
      const end = await this.#shelf.lines(segment, from, (line, offset, length) => {
        const head = decodeReceiptHead(line.toString('latin1', 0, Math.min(line.length, HEAD_BYTES)));
        if (!head) return;
        this.index.put(head, { segment, offset, length });
        if (told.size < MOST_TOLD) told.add(head.boot);
      });
      this.#read.set(segment, end);
    }
    return told;
  }

  /** The newest first. @param before the id of a boot: only older ones. @throws IoError */
  async find(query: BootQuery, most: number, before?: string): Promise<readonly Receipt[]> {
    const found: Receipt[] = [];
    for (const { place } of this.index.find(query, most, before)) {
      const receipt = await this.receiptAt(place);
      if (receipt) found.push(receipt);
    }
    return found;
  }

  /** @throws IoError */
  async get(boot: string): Promise<Receipt | undefined> {
    const place = this.index.place(boot);
    return place && (await this.receiptAt(place));
  }

  count(query: BootQuery): BootCounts {
    return this.index.count(query);
  }

  /** Undefined where its line is gone, or damaged. @throws IoError */
  async receiptAt(place: Place): Promise<Receipt | undefined> {
    const line = await this.#shelf.line(place);
    if (line === undefined) return undefined;
    try {
      return decodeReceipt(line);
    } catch (error) {
      if (error instanceof Malformed) return undefined;
      throw error;
    }
  }
}

/**
 * Segments that may tell of boots since a time, the first begun first: where a server goes on with what another process had
 * in hand, what it wrote comes later.
 */
function inOrder(segments: readonly string[], since: number): readonly string[] {
  return segments
    .filter((segment, number) => {
      const next = segments[number + 1];
      const own = timeOfName(segment) + SEGMENT_MS;
      const isLast = next === undefined || seriesOf(next) !== seriesOf(segment);
      return (isLast ? own : Math.min(own, timeOfName(next))) + LATE_MS >= since;
    })
    .sort((one, other) => timeOfName(one) - timeOfName(other));
}

/** Ids that are told of one reading. */
const MOST_TOLD = 10_000;
