import { constants } from 'node:fs';
import { type FileHandle, open, readdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotRead, codeOf, IoError, isAbsent } from '../errors/io.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { type Lock, takeLock } from '../files/lock.ts';
import { makeFolders } from '../files/make-folders.ts';
import { writeFully } from '../files/read-fully.ts';
import { MAX_RECEIPT } from './receipt.ts';

/*
 * STATE/boots/SERVER/20261130T070000123Z.jsonl: lines of receipts, the newest line of a boot is the one that counts. One
 * folder a server, held by a lock: two servers never write one file. What a crash cut off is the last line of a segment,
 * and has no newline.
 */

/** How long, and how much, is kept. Whole segments go, the oldest first. */
export interface Retention {
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  readonly keepMs: number;
  /** Of all segments of one server together. */
  readonly keepBytes: number;
}

/** Where a line stands. */
export interface Place {
  /** `SERVER/20261130T070000123Z.jsonl` */
  readonly segment: string;
  readonly offset: number;
  /** Bytes, its newline with it. */
  readonly length: number;
}

/** A segment that is this large, or this old, is followed by another. */
const SEGMENT_BYTES = 16 * 1024 * 1024;
export const SEGMENT_MS = 86_400_000;
const NAME = /^[0-9]{8}T[0-9]{9}Z\.jsonl$/;
const SERIES = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const MOST_SERIES = 64;

/** The series of one server: the only one that writes there. */
export class SegmentWriter {
  readonly #folder: string;
  readonly #retention: Retention;
  readonly #lock: Lock;
  #open:
    | { readonly name: string; readonly handle: FileHandle; readonly since: number; size: number }
    | undefined;
  readonly series: string;

  private constructor(folder: string, series: string, lock: Lock, retention: Retention) {
    this.#folder = join(folder, series);
    this.series = series;
    this.#lock = lock;
    this.#retention = retention;
  }

  /**
   * Takes a series of its own below a folder: the server's name, or with a number where another one has that.
   *
   * @param folder `STATE/boots`; it is made where it is missing.
   * @throws IoError, UsageError where the file system does not lock.
   */
  static async open(folder: string, server: string, retention: Retention): Promise<SegmentWriter> {
    const plain = plainSeries(server);
    for (let count = 1; count <= MOST_SERIES; count += 1) {
      const series = count === 1 ? plain : `${plain}-${count}`;
      const path = join(folder, series);
      await makeFolders(path);
      try {
        const lock = await takeLock(join(path, 'lock'), path);
        return new SegmentWriter(folder, series, lock, retention);
      } catch (error) {
        if (!(error instanceof IoError) || error.code !== 'EWOULDBLOCK') throw error;
      }
    }
    throw new IoError(`${MOST_SERIES} servers write to ${folder} already.`, folder, undefined);
  }

  /** Durable against the end of this process; against a power cut when the kernel has written it. @throws IoError */
  async append(line: Buffer): Promise<Place> {
    if (line.length > MAX_RECEIPT) throw new RangeError('a receipt is larger than a line may be');
    const now = this.#retention.clock();
    const before = this.#open;
    if (before && (before.size + line.length > SEGMENT_BYTES || Math.abs(now - before.since) > SEGMENT_MS))
      await this.#close();
    const segment = this.#open ?? (await this.#begin(now));
    const path = join(this.#folder, segment.name);
    try {
      await writeFully(path, segment.handle, line, segment.size);
    } catch (error) {
      // Half a line is none: what comes next stands where it began.
      await segment.handle.truncate(segment.size).catch(() => this.#close());
      throw error;
    }
    const place = { segment: `${this.series}/${segment.name}`, offset: segment.size, length: line.length };
    segment.size += line.length;
    return place;
  }

  /**
   * Removes segments that are too old, or too many. Of the old ones the oldest alone, each time: a clock that has jumped
   * years ahead for an hour takes no history with it.
   *
   * @returns those that are gone: `SERVER/NAME`.
   * @throws IoError
   */
  async collect(): Promise<readonly string[]> {
    const { clock, keepMs, keepBytes } = this.#retention;
    const names = await segmentNames(this.#folder);
    const sizes = await Promise.all(names.map((name) => sizeOf(join(this.#folder, name))));
    const gone: string[] = [];
    let bytes = sizes.reduce((sum, size) => sum + size, 0);
    for (const [index, name] of names.entries()) {
      const next = names[index + 1];
      if (next === undefined || name === this.#open?.name) break;
      const isOld = gone.length === 0 && clock() - timeOfName(next) > keepMs;
      if (bytes <= keepBytes && !isOld) break;
      const path = join(this.#folder, name);
      await unlink(path).catch((error: unknown) => {
        if (!isAbsent(error)) throw explain(error, path);
      });
      bytes -= sizes[index] ?? 0;
      gone.push(`${this.series}/${name}`);
    }
    return gone;
  }

  async close(): Promise<void> {
    await this.#close();
    await this.#lock.release();
  }

  async #begin(now: number) {
    for (let time = now; ; time += 1) {
      const name = nameOfTime(time);
      const path = join(this.#folder, name);
      try {
        const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
        const handle = await open(path, flags, 0o640);
        await syncDirectory(this.#folder).catch(async (error: unknown) => {
          await handle.close().catch(() => {});
          throw error;
        });
        this.#open = { name, handle, since: now, size: 0 };
        return this.#open;
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw explain(error, path);
      }
    }
  }

  async #close(): Promise<void> {
    const { handle } = this.#open ?? {};
    this.#open = undefined;
    await handle?.sync().catch(() => {});
    await handle?.close().catch(() => {});
  }
}

/** All segments below a folder, `SERVER/NAME`, the oldest of a server first. None where there is no folder. @throws IoError */
export async function listSegments(folder: string): Promise<readonly string[]> {
  const series = (await namesIn(folder)).filter((name) => SERIES.test(name));
  const found: string[] = [];
  for (const name of series)
    for (const segment of await segmentNames(join(folder, name))) found.push(`${name}/${segment}`);
  return found;
}

/** The name of a server as a part of that of its series; there is room for ten characters behind it. */
export function plainSeries(server: string): string {
  const name = server.replace(/[^A-Za-z0-9._-]/g, '-').slice(0, 54);
  return SERIES.test(name) ? name : 'server';
}

/** True for `SERVER/NAME`. */
export function isSegment(text: string): boolean {
  const [series = '', name = '', ...more] = text.split('/');
  return more.length === 0 && SERIES.test(series) && NAME.test(name);
}

/** @param segment `SERVER/NAME` */
export function seriesOf(segment: string): string {
  return segment.slice(0, segment.indexOf('/'));
}

/** What a segment that begins at a time is called. */
export function nameOfTime(time: number): string {
  return `${new Date(time).toISOString().replace(/[-:.]/g, '')}.jsonl`;
}

/** When a segment was begun: milliseconds since 1970. @param segment `SERVER/NAME`, or its name alone. */
export function timeOfName(segment: string): number {
  const name = segment.slice(segment.indexOf('/') + 1);
  const text = name.replace(/^(....)(..)(..)T(..)(..)(..)(...)Z\.jsonl$/, '$1-$2-$3T$4:$5:$6.$7Z');
  return Date.parse(text);
}

/** @returns told with the bytes of each line, without its newline, and where it stands; lines that are too long are left out. */
export type OnLine = (line: Buffer, offset: number, length: number) => void;

/** Bytes that are read at once. */
const CHUNK = 1024 * 1024;

/**
 * Reads the lines of a segment from an offset on. What has no newline yet is no line.
 *
 * @returns where the next line begins.
 * @throws IoError; a segment that is gone has no lines.
 */
export async function readLines(path: string, from: number, onLine: OnLine): Promise<number> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isAbsent(error)) return from;
    throw cannotRead(path, error);
  }
  let kept = 0;
  let position = from;
  let start = from;
  try {
    // Most segments are looked at again and again, and are never written to any more.
    if ((await handle.stat()).size <= from) return from;
    const chunk = Buffer.alloc(CHUNK + MAX_RECEIPT);
    for (;;) {
      const { bytesRead } = await handle.read(chunk, kept, CHUNK, position);
      if (bytesRead === 0) return start;
      position += bytesRead;
      const filled = kept + bytesRead;
      let line = 0;
      for (;;) {
        const end = chunk.indexOf(0x0a, line);
        if (end === -1 || end >= filled) break;
        onLine(chunk.subarray(line, end), start, end + 1 - line);
        start += end + 1 - line;
        line = end + 1;
      }
      kept = filled - line;
      if (kept > MAX_RECEIPT) {
        // Longer than any line of ours: skipped, byte by byte, up to its newline.
        start += kept;
        kept = 0;
      } else chunk.copyWithin(0, line, filled);
    }
  } catch (error) {
    throw cannotRead(path, error);
  } finally {
    await handle.close();
  }
}

/** One line, without its newline; undefined where its segment is gone. @throws IoError */
export async function readPlace(
  folder: string,
  { segment, offset, length }: Place,
): Promise<string | undefined> {
  const path = join(folder, segment);
  let handle: FileHandle | undefined;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await handle.read(buffer, 0, length, offset);
    return bytesRead === length ? buffer.toString('utf8', 0, length - 1) : undefined;
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw cannotRead(path, error);
  } finally {
    await handle?.close();
  }
}

async function segmentNames(folder: string): Promise<string[]> {
  return (await namesIn(folder)).filter((name) => NAME.test(name)).sort();
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (isAbsent(error)) return [];
    throw cannotRead(folder, error);
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (isAbsent(error)) return 0;
    throw cannotRead(path, error);
  }
}
