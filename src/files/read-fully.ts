import type { FileHandle } from 'node:fs/promises';
import { cannotRead } from '../errors/io.ts';
import { explain } from './atomic-file.ts';
import { readInto } from './reading.ts';

/*
 * read() and write() may do less than they were asked to. Taken for the end of a file, a short read would let a log be
 * cut where it is whole.
 */

/**
 * Reads until `length` bytes are there or the file ends; answers as many as there are.
 *
 * @param path for the error.
 * @throws IoError
 */
export async function readFully(
  path: string,
  handle: FileHandle,
  position: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  try {
    return buffer.subarray(0, await readInto(handle, buffer, position));
  } catch (error) {
    throw cannotRead(path, error);
  }
}

/** Writes all of it. @param path for the error. @throws IoError */
export async function writeFully(
  path: string,
  handle: FileHandle,
  bytes: Uint8Array,
  position: number,
): Promise<void> {
  let done = 0;
  try {
    while (done < bytes.length) {
      const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  } catch (error) {
    throw explain(error, path);
  }
}
