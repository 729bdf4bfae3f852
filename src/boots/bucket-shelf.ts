import { IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { MAX_NAMES, type StoreBackend, type StoredFacts } from '../store/backend.ts';
import { MAX_RECEIPT } from './receipt.ts';
import type { SegmentShelf } from './segment-shelf.ts';
import { isSegment, type OnLine, type Place, seriesOf } from './segments.ts';

/*
 * `boots/SERIES/20261130T071001804Z.jsonl` of a state in a bucket. An object is put whole, again and again while it grows:
 * what was read of it once stays as it is, and what comes is behind that.
 */

/** What is asked of a bucket. One list tells all segments, with their sizes. */
export type SegmentBucket = Pick<StoreBackend, 'get' | 'open' | 'put' | 'remove'> & {
  eachBelow(prefix: string, take: (key: string, facts: StoredFacts) => void): Promise<void>;
};

/** Bytes of a segment, after which another one begins: what is put again shall be small. */
export const BUCKET_SEGMENT_BYTES = 1024 * 1024;
/** Bytes. What is longer nobody of us wrote, and nobody reads. */
const MOST_BYTES = BUCKET_SEGMENT_BYTES + MAX_RECEIPT;
const ROOT = 'boots';
/** Segments that are kept in memory: who looks at boots looks at the newest. */
const MOST_WHOLE = 8;
/** Keys that one request lists. */
const PAGE = 1000;
/** What a server writes last: nobody writes to its series any more. No receipt begins so. */
const CLOSED = '{"closed":';

export function keyOfSegment(segment: string): string {
  return `${ROOT}/${segment}`;
}

/** The last line of a series. @param time milliseconds since 1970. */
export function closingLine(time: number): Buffer {
  return Buffer.from(`${CLOSED}${JSON.stringify(new Date(time).toISOString())}}\n`);
}

export class BucketShelf implements SegmentShelf {
  readonly #bucket: SegmentBucket;
  /** Bytes, as the last list says. */
  #sizes: ReadonlyMap<string, number> = new Map();
  /** Bytes that each had when it was read last, and where its lines ended. */
  readonly #read = new Map<string, { readonly size: number; readonly end: number }>();
  /** The content of some, up to where it was read; the one that was used last is the last. */
  readonly #whole = new Map<string, Buffer>();
  readonly #closed = new Set<string>();
  #asked = 0;

  constructor(bucket: SegmentBucket) {
    this.#bucket = bucket;
  }

  /** Requests that the last list and what was read since took, about. */
  get asked(): number {
    return this.#asked;
  }

  /** Whether a server said that it ends, as far as was read. */
  isClosed(series: string): boolean {
    return this.#closed.has(series);
  }

  async list(): Promise<readonly string[]> {
    const sizes = new Map<string, number>();
    let keys = 0;
    await this.#bucket.eachBelow(ROOT, (key, { size }) => {
      keys += 1;
      const segment = key.slice(ROOT.length + 1);
      if (!isSegment(segment)) return;
      sizes.set(segment, size);
      if (sizes.size > MAX_NAMES)
        throw new Refusal('too-large', `There are more than ${MAX_NAMES} segments of receipts.`, {});
    });
    this.#asked = 1 + Math.floor(keys / PAGE);
    this.#sizes = sizes;
    for (const segment of this.#read.keys()) if (!sizes.has(segment)) this.#read.delete(segment);
    const series = new Set([...sizes.keys()].map(seriesOf));
    for (const each of this.#closed) if (!series.has(each)) this.#closed.delete(each);
    return [...sizes.keys()].sort();
  }

  async lines(segment: string, from: number, onLine: OnLine): Promise<number> {
    const listed = this.#sizes.get(segment);
    // Most segments are looked at again and again, and are never written to any more.
    const before = this.#read.get(segment);
    const isSame = listed !== undefined && before?.size === listed && before.end === from;
    if (isSame || (listed ?? 0) > MOST_BYTES) return from;
    const bytes = from === 0 ? await this.#get(segment) : await this.#behind(segment, from);
    if (bytes === undefined) return from;
    let start = 0;
    for (;;) {
      const end = bytes.indexOf(0x0a, start);
      if (end === -1) {
        this.#read.set(segment, { size: from + bytes.length, end: from + start });
        return from + start;
      }
      const line = bytes.subarray(start, end);
      if (line.length < 64 && line.toString('latin1').startsWith(CLOSED)) this.#closed.add(seriesOf(segment));
      if (line.length < MAX_RECEIPT) onLine(line, from + start, end + 1 - start);
      start = end + 1;
    }
  }

  async line({ segment, offset, length }: Place): Promise<string | undefined> {
    const end = offset + length;
    let bytes = this.#whole.get(segment);
    if (bytes === undefined || bytes.length < end) bytes = await this.#get(segment);
    else this.keep(segment, bytes);
    if (bytes === undefined || bytes.length < end) return undefined;
    return bytes.toString('utf8', offset, end - 1);
  }

  /** Content that somebody has in hand, for whoever looks at it next. */
  keep(segment: string, bytes: Buffer): void {
    this.#whole.delete(segment);
    this.#whole.set(segment, bytes);
    for (const oldest of this.#whole.keys()) {
      if (this.#whole.size <= MOST_WHOLE) return;
      this.#whole.delete(oldest);
    }
  }

  /** Whole; undefined where it is gone, or is none of ours. */
  async #get(segment: string): Promise<Buffer | undefined> {
    this.#asked += 1;
    try {
      const record = await this.#bucket.get(keyOfSegment(segment), MOST_BYTES);
      if (!record) return undefined;
      const { buffer, byteOffset, byteLength } = record.bytes;
      const bytes = Buffer.from(buffer, byteOffset, byteLength);
      this.keep(segment, bytes);
      return bytes;
    } catch (error) {
      if (error instanceof Refusal && error.code === 'too-large') return undefined;
      throw error;
    }
  }

  /** What is behind an offset. */
  async #behind(segment: string, from: number): Promise<Buffer | undefined> {
    this.#asked += 2;
    try {
      const content = await this.#bucket.open(keyOfSegment(segment));
      if (!content) return undefined;
      try {
        const bytes = Buffer.alloc(Math.max(0, Math.min(content.size, MOST_BYTES) - from));
        let filled = 0;
        while (filled < bytes.length) {
          const read = await content.read(bytes.subarray(filled), from + filled);
          if (read === 0) break;
          filled += read;
        }
        const found = bytes.subarray(0, filled);
        const before = this.#whole.get(segment);
        if (before?.length === from) this.keep(segment, Buffer.concat([before, found]));
        return found;
      } finally {
        await content.close();
      }
    } catch (error) {
      // It was put again while it was read: it comes whole in one request, or what is wrong is said by that.
      if (!(error instanceof IoError)) throw error;
      return (await this.#get(segment))?.subarray(from);
    }
  }
}
