import type { FileHandle } from 'node:fs/promises';
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
