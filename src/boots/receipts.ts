import { join } from 'node:path';
import { Malformed } from '../errors/malformed.ts';
import { type BootCounts, BootIndex } from './boot-index.ts';
import type { BootQuery } from './boot-query.ts';
import { decodeReceipt, decodeReceiptHead, HEAD_BYTES, type Receipt } from './receipt.ts';
import { listSegments, type Place, readLines, readPlace, timeOfName } from './segments.ts';

/** Boots begin before they are written down: how much older than its segment one may be. Milliseconds. */
const LATE_MS = 86_400_000;

/** The receipts of all servers below `STATE/boots`, as far as they are written down; for whoever reads beside them. */
export class Receipts {
  readonly #folder: string;
  readonly index: BootIndex;
  /** By segment, up to where it was read. */
  readonly #read = new Map<string, number>();

  /** @param folder `STATE/boots`. @param index where it is put; a server's holds what is not written yet, too. */
  constructor(folder: string, index = new BootIndex()) {
    this.#folder = folder;
    this.index = index;
  }

  /**
   * Reads what was written since the last time.
   *
   * @param since milliseconds since 1970: older segments are not opened.
   * @param except a series that somebody else tells of.
   * @returns ids of the boots that were read, in the order of their lines; each once.
   * @throws IoError
   */
  async read(since = 0, except?: string): Promise<ReadonlySet<string>> {
    const told = new Set<string>();
    const segments = await listSegments(this.#folder);
    const gone = new Set([...this.#read.keys()].filter((segment) => !segments.includes(segment)));
    if (gone.size > 0) this.index.dropSegments(gone);
    for (const segment of gone) this.#read.delete(segment);
    for (const [number, segment] of segments.entries()) {
      const series = segment.slice(0, segment.indexOf('/'));
      if (series === except) continue;
      const next = segments[number + 1];
      const isLast = next?.startsWith(`${series}/`) !== true;
      if (!isLast && timeOfName(next) + LATE_MS < since) continue;
      const from = this.#read.get(segment) ?? 0;
      const end = await readLines(join(this.#folder, segment), from, (line, offset, length) => {
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
    const line = await readPlace(this.#folder, place);
    if (line === undefined) return undefined;
    try {
      return decodeReceipt(line);
    } catch (error) {
      if (error instanceof Malformed) return undefined;
      throw error;
    }
  }
}

/** Ids that are told of one reading. */
const MOST_TOLD = 10_000;
