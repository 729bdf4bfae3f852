import type { Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { CutShort, NotS3 } from './fault.ts';

/** The pieces of an answer, at most so many bytes. @throws NotS3 for more. */
export async function* boundedPieces(
  body: AsyncIterable<Uint8Array>,
  limit: number,
): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const piece of body) {
    size += piece.length;
    if (size > limit) throw new NotS3(`more than ${limit} bytes where less was due`);
    yield piece;
  }
}

/**
 * Fills a buffer with a body, which must be as long.
 *
 * @throws CutShort for one that ends before; NotS3 for one that is longer.
 */
export async function fillFrom(body: Readable, buffer: Uint8Array): Promise<void> {
  let at = 0;
  // Taken as it is pushed: an image comes in some ten thousand pieces, and an iterator costs promises for each.
  body.on('data', (piece: Uint8Array) => {
    if (at + piece.length > buffer.length) {
      body.destroy(new NotS3(`more than ${buffer.length} bytes where less was due`));
      return;
    }
    buffer.set(piece, at);
    at += piece.length;
  });
  try {
    await finished(body);
  } catch (error) {
    // Whatever Node.js calls it: the length was promised, and the connection ended.
    if (error instanceof NotS3 || (error instanceof Error && error.name === 'TimeoutError')) throw error;
    if (error instanceof Error && error.name === 'AbortError') throw error;
    throw new CutShort();
  }
  if (at < buffer.length) throw new CutShort();
}
