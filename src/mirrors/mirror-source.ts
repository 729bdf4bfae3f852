import { Refusal } from '../errors/refusal.ts';

/** Bytes a second: a mirror that sends less, while it is waited for, could hold a pull for ever. */
export const LEAST_RATE = 4096;

/**
 * Somebody who holds the files of an upstream's state, and whom nobody trusts. Keys are those of a state
 * (`releases/arch/2026.11.01/boot.ipxe`, `scripts/…`), so that a server, a plain web server over the folder, a copy of it
 * and a bucket are one thing to whoever pulls.
 */
export interface MirrorSource extends FileSource {
  /**
   * A channel's snapshot and its seal, unverified.
   *
   * @throws Refusal `absent`, `malformed`, `too-large`, `unreachable`; IoError.
   */
  snapshot(channel: string): Promise<{ readonly bytes: Uint8Array; readonly seal: Uint8Array }>;
}

/** Somebody who holds files by name, and whom nobody trusts. */
export interface FileSource {
  /** How sentences name it. */
  readonly name: string;
  /** For the record of where a release came from; see `isOrigin`. */
  readonly origin: string;
  /** A small file, whole. @param limit bytes. @throws Refusal `absent`, `malformed`, `too-large`, `unreachable`; IoError. */
  read(key: string, limit: number): Promise<Uint8Array>;
  /**
   * A file of any size from one of its bytes on.
   *
   * @param size bytes that it has, as was signed: one that says otherwise is refused before its first byte.
   * @returns which byte the content begins with: 0 where this mirror knows no ranges.
   * @throws as `read`, and while the content is read.
   */
  open(key: string, first: number, size: number, signal?: AbortSignal): Promise<MirrorFile>;
  /**
   * How long it says that a file is, in bytes, where nobody signed that. @param limit bytes; more is `too-large`.
   * @throws as `read`.
   */
  size(key: string, limit: number): Promise<number>;
  close(): Promise<void>;
}

export interface MirrorFile {
  readonly first: number;
  readonly content: AsyncIterable<Uint8Array>;
}

/** @returns the size. Both in bytes. @throws Refusal `too-large`. */
export function demandShort(what: string, size: number, limit: number): number {
  if (size <= limit) return size;
  throw new Refusal('too-large', `${what} has ${size} bytes, and ${limit} are allowed.`, {
    path: what,
    size,
    limit,
  });
}
