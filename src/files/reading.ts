import { type FileHandle, readFile } from 'node:fs/promises';
import { codeOf, IoError } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { unreadable } from '../errors/unreadable.ts';

/**
 * Reads, and turns what the system says against it into a refusal (`absent`) or an `IoError` that names the file;
 * closes what was open. A verdict, and what a caller throws to end the reading, goes on as it is.
 *
 * @param path for messages.
 */
export async function reading<T>(
  path: string,
  handle: FileHandle | undefined,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Refusal || error instanceof IoError || codeOf(error) === undefined) throw error;
    throw unreadable(path, error);
  } finally {
    // What was read is read.
    await handle?.close().catch(() => {});
  }
}

/** A file that the operator named, whole. Throws a `Refusal` (`absent`) or an `IoError`. */
export function readWhole(path: string): Promise<Buffer> {
  return reading(path, undefined, () => readFile(path));
}

/**
 * Fills a buffer from a file: read(2) may give less than it was asked for before the file ends.
 *
 * @returns bytes; fewer than the buffer has only where the file ends.
 */
export async function readInto(handle: FileHandle, buffer: Uint8Array, position: number): Promise<number> {
  let at = 0;
  while (at < buffer.length) {
    const { bytesRead } = await handle.read(buffer, at, buffer.length - at, position + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return at;
}
