import { isSafeSegment } from '../formats/records/safe-path.ts';

/*
 * Where a state keeps its records, whatever is underneath: a folder, or a bucket (S3). Keys are names joined by `/`.
 * Each verb is one that both can do whole: a record is there as it was written or not at all, whenever its writer dies.
 */

/** Says which bytes a key held: equal versions, equal bytes. Opaque; a digest in a folder, an ETag in a bucket. */
export type Version = string;

export interface StoredRecord {
  readonly bytes: Uint8Array;
  readonly version: Version;
}

/** Content of any size on its way into the store. */
export interface StoredFile {
  /** The file that its bytes are in now, or the bytes. */
  readonly source: string | Uint8Array;
  /** What it is called in a refusal. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** Content that was opened where it lies. What is read of it is what the store gives: nobody has verified it. */
export interface StoredContent {
  /** Bytes, as the store says. */
  readonly size: number;
  /**
   * Fills `buffer` from `position` on, unless the content ends before; resolves with the bytes read, 0 at the end.
   *
   * @throws IoError
   */
  read(buffer: Uint8Array, position: number): Promise<number>;
  close(): Promise<void>;
}

/** What a store says of a key without reading it. */
export interface StoredFacts {
  /** Bytes. */
  readonly size: number;
  /** When it was written last; milliseconds since 1970, by the store's clock. */
  readonly modified: number;
}

/**
 * The records of one state. What is absent is told from what cannot be read: `undefined`, `false` and an empty list mean
 * that a key is not there, and every other fault is thrown as an `IoError`.
 */
export interface StoreBackend {
  /**
   * A record, whole; undefined only where there is none.
   *
   * @param most bytes; default: `MAX_RECORD`.
   * @throws Refusal `too-large` for one that is longer, before it is read.
   */
  get(key: string, most?: number): Promise<StoredRecord | undefined>;

  /** Writes a record, whatever was there. Durable when it resolves. */
  put(key: string, bytes: Uint8Array): Promise<void>;

  /** Writes a record that is never changed again. Answers false, and changes nothing, where the key is taken. */
  putIfAbsent(key: string, bytes: Uint8Array): Promise<boolean>;

  /**
   * Writes content that may be too large for memory and is never changed, once its bytes are known to be those that were
   * promised. In a folder a file is copied (or reflinked) and the copy is read; a bucket takes it in parts with the digest
   * of each. Content that is there already is replaced by the same, and is as new as this.
   *
   * @throws Refusal `drifted` where it is another file; nothing is stored then.
   */
  putFile(key: string, file: StoredFile): Promise<void>;

  /** Opens content of any size; undefined only where there is none. */
  open(key: string): Promise<StoredContent | undefined>;

  /** Undefined only where there is nothing under the key. */
  facts(key: string): Promise<StoredFacts | undefined>;

  /**
   * Lets content be found under another key, too, whatever was there: a link in a folder, a copy that the engine makes in a
   * bucket. Nothing is read here. Durable when it resolves; false, and nothing is changed, where there is none to copy.
   */
  copy(from: string, to: string): Promise<boolean>;

  /** Takes a key away; nothing happens where there is none. A bucket asks no questions: whoever calls must know. */
  remove(key: string): Promise<void>;

  /**
   * Goes from one content of a key to the next. Undefined stands for no record: before, it must be absent; after, it is
   * removed. Answers false, and changes nothing, where the key holds something else.
   */
  compareAndSwap(key: string, before: Version | undefined, after: Uint8Array | undefined): Promise<boolean>;

  /**
   * The names one step below a prefix, sorted, each once: `current` for a key, `7/` where keys go on below it. A prefix is a
   * key, or empty for the whole state. Below a name that ends in `/` there may be nothing (yet).
   *
   * @throws Refusal `too-large` for more than `MAX_NAMES`.
   */
  list(prefix: string): Promise<readonly string[]>;

  /**
   * Whether there is nothing below a prefix, at this moment, for whoever may not wait; false says nothing: `list` knows.
   * Absent where that cannot be said at once.
   */
  isSurelyEmpty?(prefix: string): boolean;
}

/** Bytes. Records are small; a state's largest is a release's provenance. */
export const MAX_RECORD = 64 * 1024 * 1024;
/** Names below one prefix. A channel that is renewed every hour has so many after eleven years. */
export const MAX_NAMES = 100_000;

/** True for what may be part of a key: a safe name that is not hidden, as unfinished files are. */
export function isKeySegment(name: string): boolean {
  return isSafeSegment(name) && !name.startsWith('.');
}

/** Throws a `RangeError` for what is no key: names in a key were judged before. */
export function demandKey(key: string): void {
  if (key.length <= 1024 && key.split('/').every(isKeySegment)) return;
  throw new RangeError(`${JSON.stringify(key)} is no key of a store`);
}
