import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { cannotRead, isAbsent } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import { reading } from '../../files/reading.ts';
import type { StoredFile } from '../backend.ts';

/** Content on its way into a bucket: its bytes are known to be those that were promised before the first is sent. */
export interface Source {
  /** Base64: what `Content-MD5` holds. */
  readonly md5: string;
  /**
   * A body for one request. A file is read again, and its last piece is held back until the digest is known to be right:
   * a file that changes in between never arrives whole. `failed` ends the request then.
   */
  body(): { readonly piece: Uint8Array | Readable; readonly failed: AbortSignal };
  /** After a request that failed: throws what was wrong with the file, if that was why. */
  ended(): void;
}

/** Bytes that are read at once. */
const PIECE = 1024 * 1024;

/** @throws Refusal `drifted` where the file is another than was promised; IoError. */
export async function withSource<T>(file: StoredFile, work: (source: Source) => Promise<T>): Promise<T> {
  const { source, name, size, sha256 } = file;
  const drifted = () => new Refusal('drifted', `${name} changed after it was verified.`, { path: name });
  if (typeof source !== 'string') {
    if (source.length !== size || createHash('sha256').update(source).digest('hex') !== sha256)
      throw drifted();
    const md5 = createHash('md5').update(source).digest('base64');
    const never = new AbortController().signal;
    return work({ md5, body: () => ({ piece: source, failed: never }), ended: () => {} });
  }
  const handle = await openSource(source, name);
  return reading(source, handle, async () => {
    const facts = await handle.stat();
    // What grew into a hole of terabytes shall not be read to its end.
    if (!facts.isFile() || facts.size !== size) throw drifted();
    const md5 = createHash('md5');
    for await (const piece of checked(handle, size, sha256, drifted)) md5.update(piece);
    let fault: unknown;
    let last: Readable | undefined;
    const body = () => {
      const controller = new AbortController();
      const piece = Readable.from(checked(handle, size, sha256, drifted), { objectMode: false });
      // The request waits for a body that will not come: it must be ended from here.
      piece.once('error', (error) => {
        fault ??= error;
        controller.abort();
      });
      last = piece;
      return { piece, failed: controller.signal };
    };
    const ended = () => {
      last?.destroy();
      if (fault !== undefined) throw fault;
    };
    return work({ md5: md5.digest('base64'), body, ended });
  });
}

async function openSource(source: string, name: string): Promise<FileHandle> {
  try {
    return await open(source, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (isAbsent(error))
      throw new Refusal('drifted', `${name} is gone since it was verified.`, { path: name });
    throw cannotRead(source, error);
  }
}

/** The pieces of a file; the last only after all of them are known to have the digest. */
async function* checked(
  handle: FileHandle,
  size: number,
  sha256: string,
  drifted: () => Refusal,
): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256');
  let at = 0;
  while (at < size) {
    const buffer = Buffer.allocUnsafe(Math.min(PIECE, size - at));
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, at);
    if (bytesRead === 0) throw drifted();
    const piece = buffer.subarray(0, bytesRead);
    hash.update(piece);
    at += bytesRead;
    if (at === size && hash.digest('hex') !== sha256) throw drifted();
    yield piece;
  }
  if (size === 0 && hash.digest('hex') !== sha256) throw drifted();
}
