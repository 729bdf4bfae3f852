import type { Socket } from 'node:net';
import { Malformed } from '../errors/malformed.ts';
import { MAX_LINE } from './protocol.ts';

/**
 * Reads one line from a connection, its end included, and takes no more of it than a line may have.
 *
 * @returns undefined where either side ended it before any was sent.
 * @throws Malformed for a line that is too long or has no end, or bytes after it; what the connection's error was.
 */
export function readLine(format: string, connection: Socket): Promise<Uint8Array | undefined> {
  // Whoever waited for it has given it up already, and nothing is said of it any more.
  if (connection.destroyed) return Promise.resolve(undefined);
  return new Promise((done, reject) => {
    let held = Buffer.alloc(0);
    const finish = (result: Uint8Array | undefined | Error): void => {
      connection.off('data', take).off('end', end).off('error', finish).off('close', end);
      // Whatever else is sent is thrown away: what lies unread when a socket is closed makes an error of our answer.
      connection.resume();
      if (result instanceof Error) reject(result);
      else done(result);
    };
    const take = (piece: Buffer): void => {
      held = Buffer.concat([held, piece]);
      const at = held.indexOf('\n');
      if (at >= 0 && at + 1 < held.length) finish(new Malformed(format, 'more than one line'));
      else if (at >= 0) finish(held);
      else if (held.length >= MAX_LINE) finish(new Malformed(format, `longer than ${MAX_LINE} bytes`));
    };
    const end = (): void =>
      finish(held.length === 0 ? undefined : new Malformed(format, 'a line without its end'));
    connection.on('data', take).on('end', end).on('error', finish).on('close', end).resume();
  });
}
