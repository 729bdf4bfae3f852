import { randomBytes } from 'node:crypto';
import { IoError } from '../errors/io.ts';
import {
  BUCKET_SEGMENT_BYTES,
  type BucketShelf,
  closingLine,
  keyOfSegment,
  type SegmentBucket,
} from './bucket-shelf.ts';
import type { ReceiptLines } from './memory-lines.ts';
import { MAX_RECEIPT } from './receipt.ts';
import {
  nameOfTime,
  type Place,
  plainSeries,
  type Retention,
  SEGMENT_MS,
  seriesOf,
  timeOfName,
} from './segments.ts';

export interface BucketLinesOptions {
  readonly bucket: SegmentBucket;
  /** Reads what is not held here any more. */
  readonly shelf: BucketShelf;
  /** Its name. */
  readonly server: string;
  readonly retention: Retention;
  /** Milliseconds of a monotonic clock. */
  readonly monotonic: () => number;
}

/** A segment that is not known to be in the bucket as it is here. */
interface Held {
  readonly name: string;
  readonly since: number;
  bytes: Buffer;
  size: number;
  /** Bytes of it that the bucket has. */
  put: number;
}

/** Milliseconds between two attempts to put what was added. */
const PUT_MS = 5_000;
/** Bytes of lines that wait for a bucket that takes none. */
const MOST_HELD = 16 * 1024 * 1024;
const FIRST_BYTES = 64 * 1024;
const MIB = 1024 * 1024;
/** Hex digits of what tells a process from others of its name. */
const RANDOM_BYTES = 4;

/**
 * The series of one server in a bucket. No object can be appended to: the newest is put whole again, and lines wait in
 * memory for that. Nothing in a bucket holds two writers apart, so each process has a series that no other can have.
 */
export class BucketLines implements ReceiptLines {
  readonly series: string;
  readonly #options: BucketLinesOptions;
  readonly #host: string;
  /** The oldest first. */
  readonly #held = new Set<Held>();
  readonly #names = new Set<string>();
  #current: Held | undefined;
  #heldBytes = 0;
  #putting: Promise<void> | undefined;
  #putAt = Number.NEGATIVE_INFINITY;
  #fault: Error | undefined;

  constructor(options: BucketLinesOptions) {
    this.#options = options;
    this.#host = plainSeries(options.server);
    this.series = `${this.#host}-${randomBytes(RANDOM_BYTES).toString('hex')}`;
  }

  /** Why what was taken is not in the bucket; undefined while it gets there. */
  get fault(): Error | undefined {
    return this.#fault;
  }

  /** Whether a process of this name wrote a series, which said that it ended: what it had in hand is this one's. */
  isOwn(series: string): boolean {
    if (series === this.series) return true;
    const isNamesake = series.slice(0, -(2 * RANDOM_BYTES + 1)) === this.#host;
    return isNamesake && this.#options.shelf.isClosed(series);
  }

  /** Held in memory when it resolves; in the bucket some seconds later. @throws IoError where too much waits already. */
  async append(line: Buffer): Promise<Place> {
    if (line.length > MAX_RECEIPT) throw new RangeError('a receipt is larger than a line may be');
    if (this.#heldBytes + line.length > MOST_HELD)
      throw (
        this.#fault ??
        new IoError('Receipts come faster than the bucket takes them.', keyOfSegment(this.series), undefined)
      );
    return this.#add(line);
  }

  async read(place: Place): Promise<string | undefined> {
    for (const { name, bytes, size } of this.#held) {
      if (place.segment !== `${this.series}/${name}`) continue;
      const end = place.offset + place.length;
      return end <= size ? bytes.toString('utf8', place.offset, end - 1) : undefined;
    }
    return this.#options.shelf.line(place);
  }

  tick(): void {
    if (this.#options.monotonic() - this.#putAt < PUT_MS) return;
    for (const { put, size } of this.#held) if (put < size) void this.#begin();
  }

  /**
   * Removes segments of all servers: the oldest of all where it is too old, one each time, so that a clock that has jumped
   * takes no history with it; and the oldest ones while there are too many, but for the newest of a server that may still
   * write to it.
   */
  async collect(): Promise<readonly string[]> {
    const { shelf, bucket, retention } = this.#options;
    const { clock, keepMs, keepBytes } = retention;
    const segments = [...(await shelf.list())].sort((one, other) => timeOfName(one) - timeOfName(other));
    const newest = new Map(segments.map((segment) => [seriesOf(segment), segment]));
    const isHeld = new Set([...this.#held].map(({ name }) => `${this.series}/${name}`));
    const gone: string[] = [];
    for (const segment of segments) {
      // What was written last there may be a day younger than its name.
      const isOld = gone.length === 0 && clock() - timeOfName(segment) - SEGMENT_MS > keepMs;
      const isTooMuch = (segments.length - gone.length) * MIB > keepBytes;
      if (!isOld && !isTooMuch) break;
      if (isHeld.has(segment)) continue;
      const series = seriesOf(segment);
      if (!isOld && newest.get(series) === segment && !shelf.isClosed(series)) continue;
      await bucket.remove(keyOfSegment(segment));
      gone.push(segment);
    }
    return gone;
  }

  /** Puts what is still to be put, and says that nothing follows. @throws IoError */
  async close(): Promise<void> {
    if (this.#names.size > 0) this.#add(closingLine(this.#options.retention.clock()));
    await this.#putting;
    await this.#begin();
    if (this.#fault) throw this.#fault;
  }

  #add(line: Buffer): Place {
    const now = this.#options.retention.clock();
    const before = this.#current;
    if (
      before &&
      (before.size + line.length > BUCKET_SEGMENT_BYTES || Math.abs(now - before.since) > SEGMENT_MS)
    ) {
      this.#current = undefined;
      this.#forget(before);
    }
    this.#current ??= this.#make(now);
    const current = this.#current;
    const offset = current.size;
    if (offset + line.length > current.bytes.length) {
      // What is being put stays as it is.
      const larger = Buffer.alloc(Math.max(2 * current.bytes.length, offset + line.length));
      current.bytes.copy(larger, 0, 0, offset);
      current.bytes = larger;
    }
    line.copy(current.bytes, offset);
    current.size += line.length;
    this.#heldBytes += line.length;
    return { segment: `${this.series}/${current.name}`, offset, length: line.length };
  }

  #make(now: number): Held {
    let time = now;
    while (this.#names.has(nameOfTime(time))) time += 1;
    const held = { name: nameOfTime(time), since: now, bytes: Buffer.alloc(FIRST_BYTES), size: 0, put: 0 };
    this.#names.add(held.name);
    this.#held.add(held);
    return held;
  }

  #begin(): Promise<void> {
    this.#putting ??= this.#putAll().finally(() => {
      this.#putting = undefined;
    });
    return this.#putting;
  }

  async #putAll(): Promise<void> {
    this.#putAt = this.#options.monotonic();
    try {
      for (const held of this.#held) {
        const { name, bytes, size, put } = held;
        if (put < size)
          await this.#options.bucket.put(keyOfSegment(`${this.series}/${name}`), bytes.subarray(0, size));
        held.put = size;
        this.#forget(held);
      }
      this.#fault = undefined;
    } catch (error) {
      this.#fault = error instanceof Error ? error : new Error(String(error));
    }
  }

  /** What nobody adds to any more, and the bucket has, is read from there. */
  #forget(held: Held): void {
    if (held === this.#current || held.put < held.size) return;
    if (!this.#held.delete(held)) return;
    this.#heldBytes -= held.size;
    this.#options.shelf.keep(`${this.series}/${held.name}`, held.bytes.subarray(0, held.size));
  }
}
