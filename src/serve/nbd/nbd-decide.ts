import { Refusal } from '../../errors/refusal.ts';
import { NBD_ERROR } from '../../formats/net/nbd.ts';
import { NBD_COMMAND, NBD_COMMAND_FLAG, type NbdRequest } from '../../formats/net/nbd-request.ts';
import { SMALLEST } from '../chunk-pool.ts';
import { NBD_BLOCK_SIZES } from './nbd-types.ts';

/** An error that a request is answered with. */
export interface NbdFault {
  /** Of `NBD_ERROR`. */
  readonly error: number;
  /** For people, where the reply has room for it: nothing of the server's file system. */
  readonly message: string;
}

/** What becomes of a request. */
export type Decision =
  | 'read'
  /** Answered at once: a READ of no bytes. */
  | 'nothing'
  /** A WRITE: refused as soon as its data has gone by. */
  | 'drain'
  /** The client leaves. */
  | 'leave'
  /** It cannot be told where the next request begins, or not before far too much has gone by. */
  | 'hang-up'
  | NbdFault;

export const READ_ONLY: NbdFault = { error: NBD_ERROR.permission, message: 'The export is read-only' };
export const CLOSING: NbdFault = { error: NBD_ERROR.shutdown, message: 'The server is closing' };

/** What becomes of a request: what would write is EPERM, what was not offered EINVAL. */
export function decide(request: NbdRequest, size: number, structured: boolean): Decision {
  const { command, flags, offset, length } = request;
  switch (command) {
    case NBD_COMMAND.read:
      break;
    case NBD_COMMAND.disconnect:
      return 'leave';
    case NBD_COMMAND.write:
      return length > NBD_BLOCK_SIZES.maximum ? 'hang-up' : 'drain';
    case NBD_COMMAND.trim:
    case NBD_COMMAND.writeZeroes:
      return READ_ONLY;
    default:
      return { error: NBD_ERROR.invalid, message: `This server does not do command ${command}` };
  }
  const df = structured ? NBD_COMMAND_FLAG.df : 0;
  if ((flags & ~df) !== 0) return { error: NBD_ERROR.invalid, message: 'A flag that was not offered' };
  if (offset + length > size) {
    return { error: NBD_ERROR.invalid, message: 'That is past the end of the export' };
  }
  if (length > NBD_BLOCK_SIZES.maximum) {
    // doc/proto.md knows OVERFLOW for structured replies only.
    const error = structured ? NBD_ERROR.overflow : NBD_ERROR.invalid;
    return { error, message: 'A read is at most 32 MiB' };
  }
  // What doc/proto.md wants at least; any chunk of memory holds it, and larger ones need not be there.
  if ((flags & df) !== 0 && length > SMALLEST) {
    return { error: NBD_ERROR.overflow, message: 'An unfragmented read is at most 64 KiB' };
  }
  // doc/proto.md leaves it open. There is nothing that could fail.
  return length === 0 ? 'nothing' : 'read';
}

/** What a client is told of a refusal: its own sentence may name files of the server and stays in the log. */
export function refusalText({ code }: Refusal): string {
  return `${code}: the export is not served, see the log of the server`;
}

/**
 * What a client is told of a read that failed, where the reply has room for it: a refusal by its code; of what this
 * machine could not do, no more than that.
 */
export function failureText(error: unknown): string {
  return error instanceof Refusal ? refusalText(error) : 'The server cannot read it now; its log says why';
}
