import type { OpenResource } from '../../release/site.ts';
import type { ChunkPool } from '../chunk-pool.ts';
import { type Chunk, ChunkReader } from '../chunk-reader.ts';
import { type Exchange, Gone } from './http-exchange.ts';
import type { FileAnswer, Piece } from './http-file.ts';

/** Bytes between two progress events. */
const PROGRESS = 16 * 1024 * 1024;

/** What sending needs beside the file: where buffers come from, how long a chunk may take, who is told. */
export interface SendContext {
  readonly pool: ChunkPool;
  readonly chunkTimeoutMs: number;
  onProgress(bytes: number, total: number): void;
}

/**
 * Sends the bytes of a file, chunk by chunk: each waits until the kernel has taken the one before, so one
 * response holds one chunk (two while it runs at full speed), whatever the size of the file.
 *
 * The last bytes stay here until `open.check()` has said that the file is still the one that was
 * verified. When it is not, the connection is destroyed and the client sees a short body, never a whole
 * one that is wrong somewhere. Where nothing has left yet, the header is unsent too and the client gets a
 * status instead.
 *
 * @param head sets status and header fields; called once, just before the first byte leaves.
 * @throws Refusal (`drifted`) before anything left or after; Gone when the client closed.
 */
export async function sendFile(
  exchange: Exchange,
  open: OpenResource,
  answer: FileAnswer,
  head: () => void,
  context: SendContext,
): Promise<void> {
  const { share } = exchange.connection;
  const reader = new ChunkReader(open, context.pool, share);
  exchange.total = answer.length;
  let headed = false;
  let reported = 0;
  const begin = (): void => {
    if (!headed) head();
    headed = true;
  };
  const lastPiece = answer.pieces.at(-1);
  try {
    for (const piece of answer.pieces) {
      await sendPiece(exchange, reader, piece, context, async (chunk) => {
        // Of several ranges one that comes early may have the file's last bytes.
        const ends = piece === lastPiece || piece.range.last === answer.size - 1;
        if (ends && chunk.end > piece.range.last) await open.check();
        begin();
        if (exchange.bytes - reported < PROGRESS) return;
        reported = exchange.bytes;
        context.onProgress(reported, answer.length);
      });
    }
  } finally {
    await reader.release();
  }
  if (lastPiece === undefined) await open.check();
  begin();
  await inTime(exchange, context.chunkTimeoutMs, exchange.end(answer.after));
}

/** @param before is awaited with each chunk before any of it leaves. */
async function sendPiece(
  exchange: Exchange,
  reader: ChunkReader,
  piece: Piece,
  { pool, chunkTimeoutMs }: SendContext,
  before: (chunk: Chunk) => Promise<void>,
): Promise<void> {
  const { first, last } = piece.range;
  let position = first;
  while (position <= last) {
    const chunk = await reader.next(position, last);
    let idle = true;
    try {
      await before(chunk);
      const written =
        position === first && piece.before !== undefined
          ? exchange.write(piece.before, chunk.bytes)
          : exchange.write(chunk.bytes);
      idle = false;
      position = chunk.end;
      reader.readAhead(position, last);
      await reader.pace(inTime(exchange, chunkTimeoutMs, written));
      idle = true;
    } finally {
      // A write that was cut off may still hold the buffer: nobody else may get it.
      const { share } = exchange.connection;
      if (idle) pool.give(chunk.buffer, share);
      else pool.drop(chunk.buffer, share);
    }
  }
}

/** Drops a client that moves, but so slowly that its chunk would be held for ever. */
export async function inTime(exchange: Exchange, timeoutMs: number, written: Promise<void>): Promise<void> {
  const timer = setTimeout(() => exchange.cut('stalled'), timeoutMs);
  try {
    await written;
  } finally {
    clearTimeout(timer);
  }
}

/** True for what is thrown when there is nobody left to answer. */
export function isGone(error: unknown): boolean {
  return error instanceof Gone;
}
