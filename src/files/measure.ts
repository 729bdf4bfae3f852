import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { codeOf } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';
import { type FileIdentity, identityOf } from './file-identity.ts';
import { hasIdleLane, startLanes, takeLane } from './lane.ts';
import { type Answer, Measurer, type Question } from './measurer.ts';
import { reading } from './reading.ts';
import { type OpenedFile, readUnchanged } from './unchanged.ts';

/** Answers to questions about content that was read once, and how long it was. */
export interface Measured {
  /** Bytes. */
  readonly size: number;
  /** In the order of the questions. */
  readonly answers: readonly Answer[];
}

/** Content that can be asked. What is behind it (file, memory, network) is its own affair. */
export interface Content {
  measure(questions: readonly Question[]): Promise<Measured>;
}

export interface MeasureOptions {
  /** Bytes so far. */
  readonly onProgress?: (octets: number) => void;
  /** Waited for before each read of a large file, with the bytes so far: for those who are in no hurry. */
  readonly pace?: (octets: number) => Promise<void>;
  readonly signal?: AbortSignal;
  /** The caller's thread has nothing else to do: as much is hashed there as is not worth the start of threads. */
  readonly alone?: boolean;
}

/** 4 MiB: large enough that a message per slot costs nothing, small enough that four of them are cheap. */
const SLOT = 4 * 1024 * 1024;
const SLOTS = 4;
/** 1 MiB, which a thread hashes three ways in 2 ms: so long nobody else has a turn there. */
const PIECE = 1024 * 1024;
/** 32 MiB: hashed three ways in the time that it takes to start threads and have them do it. */
const ALONE = 32 * 1024 * 1024;

export function bytesContent(bytes: Uint8Array): Content {
  return {
    async measure(questions) {
      const measurer = new Measurer(questions);
      measurer.update(bytes);
      return { size: bytes.length, answers: measurer.answers() };
    },
  };
}

/**
 * Content of a stream, hashed as it arrives.
 *
 * @param limit bytes; one more is a refusal `too-large` (TUF's endless data attack).
 */
export function streamContent(body: AsyncIterable<Uint8Array>, what: string, limit: number): Content {
  return {
    async measure(questions) {
      const measurer = new Measurer(questions);
      let size = 0;
      for await (const piece of body) {
        size += piece.length;
        if (size > limit) {
          throw new Refusal('too-large', `${what} is longer than the ${limit} bytes it may have.`, {
            limit,
          });
        }
        measurer.update(piece);
      }
      return { size, answers: measurer.answers() };
    },
  };
}

export interface MeasuredFile extends Measured {
  /** What it was while it was read. */
  readonly identity: FileIdentity;
}

/**
 * Opens a regular file for reading, never following a final symlink, never blocking on a FIFO.
 *
 * @param what names it in refusals; default: the path.
 * @throws Refusal `absent`, `unsafe-path`; IoError.
 */
export async function openRegular(
  path: string,
  what = path,
): Promise<{ handle: FileHandle; identity: FileIdentity }> {
  let handle: FileHandle;
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ELOOP') throw new Refusal('unsafe-path', `${what} is a symbolic link.`, { path: what });
    // A socket is never opened by its name.
    if (code === 'ENXIO') throw new Refusal('unsafe-path', `${what} is not a regular file.`, { path: what });
    throw unreadable(path, error, what);
  }
  try {
    const stat = await handle.stat({ bigint: true });
    if (!stat.isFile()) throw new Refusal('unsafe-path', `${what} is not a regular file.`, { path: what });
    return { handle, identity: identityOf(stat) };
  } catch (error) {
    await handle.close().catch(() => {});
    throw error instanceof Refusal ? error : unreadable(path, error, what);
  }
}

/**
 * Reads a file once and answers every question about it, hash functions side by side in threads of their
 * own. Refuses (`drifted`) a file that changes meanwhile.
 */
export async function measureFile(
  path: string,
  questions: readonly Question[],
  options: MeasureOptions = {},
): Promise<MeasuredFile> {
  return measureOpened(await openRegular(path), path, questions, options);
}

/** The same of a file that is open, and closed at the end. @param what names it in messages. */
export async function measureOpened(
  opened: OpenedFile,
  what: string,
  questions: readonly Question[],
  options: MeasureOptions = {},
): Promise<MeasuredFile> {
  return reading(what, opened.handle, () => measureHandle(opened, what, questions, options));
}

/** The same of a file that stays open. */
export async function measureHandle(
  opened: OpenedFile,
  what: string,
  questions: readonly Question[],
  options: MeasureOptions = {},
): Promise<MeasuredFile> {
  const { handle } = opened;
  const size = Number(opened.identity.size);
  return reading(what, undefined, async () => {
    const { value, identity } = await readUnchanged(opened, what, async () => {
      const measured =
        size <= (options.alone && !hasIdleLane() ? ALONE : SLOT)
          ? await measureSmall(handle, size, questions, options)
          : await measureLarge(readingOf(handle), size, questions, options);
      if (measured.size === size) return measured;
      throw new Refusal('drifted', `${what} changed while it was being read (size differs).`, { path: what });
    });
    return { ...value, identity };
  });
}

/**
 * The same of content that comes: hashed side by side in threads while more of it comes.
 *
 * @param read fills the beginning of a buffer from a position on, waits for what has not come, and gives 0 at the end.
 */
export function measureComing(
  size: number,
  read: (buffer: Uint8Array, position: number) => Promise<number>,
  questions: readonly Question[],
): Promise<Measured> {
  return measureLarge(read, size, questions, {});
}

/**
 * Starts the threads that a file of so many bytes is going to be hashed in, for a caller who has something else to do
 * until then.
 */
export function expectMeasuring(size: number): void {
  if (size > ALONE) startLanes(fewProcessors() ? 2 : 3);
}

/** Two processors: trees and SHA-256 in one thread take a little longer than SHA-512 and the reading beside it. */
function fewProcessors(): boolean {
  return availableParallelism() < 3;
}

export function fileContent(path: string, options: MeasureOptions = {}): Content {
  return { measure: (questions) => measureFile(path, questions, options) };
}

async function measureSmall(
  handle: FileHandle,
  size: number,
  questions: readonly Question[],
  options: MeasureOptions,
): Promise<Measured> {
  const measurer = new Measurer(questions);
  // One byte more than there should be shows that there is more.
  const buffer = Buffer.allocUnsafe(Math.min(size + 1, PIECE));
  let at = 0;
  while (at <= size) {
    options.signal?.throwIfAborted();
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) break;
    at += bytesRead;
    measurer.update(buffer.subarray(0, bytesRead));
    options.onProgress?.(at);
  }
  return { size: at, answers: measurer.answers() };
}

function readingOf(handle: FileHandle) {
  return async (buffer: Uint8Array, position: number) =>
    (await handle.read(buffer, 0, buffer.length, position)).bytesRead;
}

async function measureLarge(
  read: (buffer: Uint8Array, position: number) => Promise<number>,
  size: number,
  questions: readonly Question[],
  options: MeasureOptions,
): Promise<Measured> {
  const groups = splitQuestions(questions);
  const lanes = groups.map(() => takeLane());
  const slots = Array.from({ length: SLOTS }, () => new SharedArrayBuffer(SLOT));
  const ring = new SlotRing(slots.length, lanes.length);
  let failed = false;
  try {
    for (const [index, lane] of lanes.entries()) {
      const asked = (groups[index] ?? [])
        .map((at) => questions[at])
        .filter((question) => question !== undefined);
      lane.begin(
        asked,
        slots,
        (slot) => ring.give(slot),
        (error) => ring.fail(error),
      );
    }
    let at = 0;
    while (at < size) {
      options.signal?.throwIfAborted();
      await options.pace?.(at);
      const slot = await ring.take();
      const bytesRead = await read(new Uint8Array(slots[slot] as SharedArrayBuffer), at);
      if (bytesRead === 0) break;
      at += bytesRead;
      for (const lane of lanes) lane.update(slot, bytesRead);
      options.onProgress?.(at);
    }
    const answers: Answer[] = [];
    const results = await Promise.all(lanes.map((lane) => lane.end()));
    for (const [index, group] of groups.entries()) {
      for (const [n, position] of group.entries()) answers[position] = results[index]?.[n] ?? false;
    }
    return { size: at, answers };
  } catch (error) {
    failed = true;
    throw error;
  } finally {
    // A lane that failed in mid-file still holds queued slots; it is not given to the next file.
    if (!failed) for (const lane of lanes) lane.release();
    else for (const lane of lanes) lane.stop();
  }
}

/** Groups question indexes into lanes of about equal cost: SHA-512's family, verity trees, and the rest. */
function splitQuestions(questions: readonly Question[]): number[][] {
  const wide: number[] = [];
  const narrow: number[] = [];
  const trees: number[] = [];
  for (const [index, question] of questions.entries()) {
    if (question.kind === 'verity') trees.push(index);
    else (question.hash === 'sha512' || question.hash === 'sha384' ? wide : narrow).push(index);
  }
  const groups = (fewProcessors() ? [wide, [...narrow, ...trees]] : [wide, narrow, trees]).filter(
    (group) => group.length > 0,
  );
  // Without a question the content is still read, by one lane, to learn its size.
  return groups.length > 0 ? groups : [[]];
}

/** Free slots, and who waits for one. A slot is free when every lane has given it back. */
class SlotRing {
  readonly #lanes: number;
  readonly #pending: number[];
  readonly #free: number[];
  #waiting: { resolve: (slot: number) => void; reject: (error: Error) => void } | undefined;
  #error: Error | undefined;

  constructor(slots: number, lanes: number) {
    this.#lanes = lanes;
    this.#pending = new Array(slots).fill(0);
    this.#free = Array.from({ length: slots }, (_, slot) => slot);
  }

  take(): Promise<number> {
    if (this.#error) return Promise.reject(this.#error);
    const slot = this.#free.pop();
    if (slot === undefined) {
      return new Promise((resolve, reject) => {
        this.#waiting = { resolve: (free) => resolve(this.#lend(free)), reject };
      });
    }
    return Promise.resolve(this.#lend(slot));
  }

  give(slot: number): void {
    this.#pending[slot] = (this.#pending[slot] ?? 0) - 1;
    if (this.#pending[slot] !== 0) return;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting) waiting.resolve(slot);
    else this.#free.push(slot);
  }

  fail(error: Error): void {
    this.#error = error;
    this.#waiting?.reject(error);
  }

  #lend(slot: number): number {
    this.#pending[slot] = this.#lanes;
    return slot;
  }
}
