import { malformed } from './nbd.ts';

/** Requests of NBD's transmission phase. */

export const NBD_COMMAND = {
  read: 0,
  write: 1,
  disconnect: 2,
  flush: 3,
  trim: 4,
  cache: 5,
  writeZeroes: 6,
  blockStatus: 7,
  resize: 8,
} as const;

export const NBD_COMMAND_FLAG = {
  fua: 1 << 0,
  noHole: 1 << 1,
  /** Not in fragments: one chunk of data for the whole read. */
  df: 1 << 2,
  reqOne: 1 << 3,
  fastZero: 1 << 4,
  payloadLength: 1 << 5,
} as const;

export interface NbdRequest {
  readonly flags: number;
  /** Any 16-bit number. */
  readonly command: number;
  /** The client's own, sent back as it came. */
  readonly cookie: bigint;
  /** Exact below 2^53; beyond, where no export reaches, the nearest number. */
  readonly offset: number;
  /** Bytes. A WRITE is followed by so many. */
  readonly length: number;
}

/** Bytes of a request. */
export const NBD_REQUEST = 28;

const MAGIC = 0x25609513;

/** The request at `at`. A view and a place, since hundreds arrive in one piece. @throws Malformed */
export function decodeNbdRequest(view: DataView, at = 0): NbdRequest {
  if (view.byteLength - at < NBD_REQUEST) throw malformed('a request that is cut short', at);
  if (view.getUint32(at) !== MAGIC) throw malformed('no request where one belongs', at);
  return {
    flags: view.getUint16(at + 4),
    command: view.getUint16(at + 6),
    cookie: view.getBigUint64(at + 8),
    offset: view.getUint32(at + 16) * 2 ** 32 + view.getUint32(at + 20),
    length: view.getUint32(at + 24),
  };
}

/** @throws RangeError where the offset is not exact. */
export function encodeNbdRequest({ flags, command, cookie, offset, length }: NbdRequest): Buffer {
  if (!Number.isSafeInteger(offset)) throw new RangeError('an offset of NBD is below 2^53');
  const bytes = Buffer.alloc(NBD_REQUEST);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(command, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}
