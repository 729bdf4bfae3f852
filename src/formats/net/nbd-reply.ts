import { malformed, nbdString, nbdStringBytes, viewOf } from './nbd.ts';

/** Replies of NBD's transmission phase: simple ones, and the chunks of structured ones. */

export const NBD_CHUNK = {
  none: 0,
  offsetData: 1,
  offsetHole: 2,
  error: 0x8001,
  errorOffset: 0x8002,
} as const;

/** The flag of a reply's last chunk. */
export const NBD_CHUNK_DONE = 1;

/** Bytes of a simple reply before its data, of a chunk before its payload, of a chunk of data before its data. */
export const NBD_SIMPLE_REPLY = 16;
export const NBD_CHUNK_HEADER = 20;
export const NBD_DATA_CHUNK_HEADER = NBD_CHUNK_HEADER + 8;

const SIMPLE_MAGIC = 0x67446698;
const CHUNK_MAGIC = 0x668e33ef;

/** A simple reply. The data of a READ without error follows; how much, only the request says. */
export interface NbdSimpleReply {
  readonly kind: 'simple';
  readonly error: number;
  readonly cookie: bigint;
}

export interface NbdChunkHeader {
  readonly kind: 'chunk';
  readonly flags: number;
  readonly type: number;
  readonly cookie: bigint;
  /** Bytes of payload. */
  readonly length: number;
}

/** What a chunk tells, without the data of `offset-data`: that is whatever follows the offset. */
export type NbdChunk =
  | { readonly kind: 'none' }
  | { readonly kind: 'offset-data'; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: 'offset-hole'; readonly offset: number; readonly length: number }
  | { readonly kind: 'error'; readonly error: number; readonly message: string }
  | {
      readonly kind: 'error-offset';
      readonly error: number;
      readonly message: string;
      readonly offset: number;
    }
  /** An error of a kind that is not known is an error all the same. */
  | { readonly kind: 'other-error'; readonly type: number; readonly error: number; readonly message: string };

/** Bytes of the header of the reply that begins here; undefined where more are needed. @throws Malformed */
export function nbdReplyHeaderLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < 4) return undefined;
  const magic = viewOf(bytes).getUint32(0);
  if (magic === SIMPLE_MAGIC) return NBD_SIMPLE_REPLY;
  if (magic === CHUNK_MAGIC) return NBD_CHUNK_HEADER;
  throw malformed('no reply where one belongs', 0);
}

/** The header of a reply. @throws Malformed */
export function decodeNbdReplyHeader(bytes: Uint8Array): NbdSimpleReply | NbdChunkHeader {
  if (nbdReplyHeaderLength(bytes) !== bytes.length) throw malformed('a reply of another length than its own');
  const view = viewOf(bytes);
  if (bytes.length === NBD_SIMPLE_REPLY) {
    return { kind: 'simple', error: view.getUint32(4), cookie: view.getBigUint64(8) };
  }
  return {
    kind: 'chunk',
    flags: view.getUint16(4),
    type: view.getUint16(6),
    cookie: view.getBigUint64(8),
    length: view.getUint32(16),
  };
}

/** Writes a simple reply's header: senders fill one buffer with many. */
export function writeNbdSimpleReply(into: DataView, at: number, error: number, cookie: bigint): void {
  into.setUint32(at, SIMPLE_MAGIC);
  into.setUint32(at + 4, error);
  into.setBigUint64(at + 8, cookie);
}

/** Writes the header of a chunk of `length` bytes of data from `offset`; `last` marks the reply's last chunk. */
export function writeNbdDataChunk(
  into: DataView,
  at: number,
  chunk: {
    readonly cookie: bigint;
    readonly offset: number;
    readonly length: number;
    readonly last: boolean;
  },
): void {
  writeHeader(into, at, NBD_CHUNK.offsetData, chunk.cookie, chunk.length + 8, chunk.last);
  setOffset(into, at + NBD_CHUNK_HEADER, chunk.offset);
}

/** A whole chunk. @throws RangeError where `decodeNbdChunk` would not take it back. */
export function encodeNbdChunk(cookie: bigint, chunk: NbdChunk, last: boolean): Buffer {
  const [type, payload] = encodePayload(chunk);
  if (type === NBD_CHUNK.none && !last) throw new RangeError('a chunk of type NONE is the last of its reply');
  const header = Buffer.alloc(NBD_CHUNK_HEADER);
  writeHeader(viewOf(header), 0, type, cookie, payload.length, last);
  return Buffer.concat([header, payload]);
}

/** What a chunk says. @param payload exactly the bytes its header names. @throws Malformed */
export function decodeNbdChunk(header: NbdChunkHeader, payload: Uint8Array): NbdChunk {
  const { type, length, flags } = header;
  if (payload.length !== length) throw malformed('a payload of another length than its header says');
  const view = viewOf(payload);
  switch (type) {
    case NBD_CHUNK.none:
      if (length > 0) throw malformed('a chunk of type NONE with a payload', 16);
      if ((flags & NBD_CHUNK_DONE) === 0) throw malformed('a chunk of type NONE that is not the last', 4);
      return { kind: 'none' };
    case NBD_CHUNK.offsetData:
      if (length < 9) throw malformed('a chunk of data without data', 16);
      return { kind: 'offset-data', offset: offsetAt(view, 0), data: payload.subarray(8) };
    case NBD_CHUNK.offsetHole: {
      if (length !== 12) throw malformed('a hole that is not 12 bytes', 16);
      if (view.getUint32(8) === 0) throw malformed('a hole of no bytes', NBD_CHUNK_HEADER + 8);
      return { kind: 'offset-hole', offset: offsetAt(view, 0), length: view.getUint32(8) };
    }
    default:
      if (type < 0x8000) throw malformed('a chunk of a type that is not known', 6);
      return decodeError(type, payload, view);
  }
}

function decodeError(type: number, payload: Uint8Array, view: DataView): NbdChunk {
  const tail = type === NBD_CHUNK.errorOffset ? 8 : 0;
  if (payload.length < 6 + tail) throw malformed('an error that is cut short', 16);
  const error = view.getUint32(0);
  if (error === 0) throw malformed('an error that is none', NBD_CHUNK_HEADER);
  const end = 6 + view.getUint16(4);
  // Types of tomorrow may have more behind the message.
  const known = type === NBD_CHUNK.error || type === NBD_CHUNK.errorOffset;
  if (known ? end + tail !== payload.length : end > payload.length) {
    throw malformed('a message of another length than its error says', NBD_CHUNK_HEADER + 4);
  }
  const message = nbdString(payload.subarray(6, end), NBD_CHUNK_HEADER + 6);
  if (type === NBD_CHUNK.error) return { kind: 'error', error, message };
  if (type === NBD_CHUNK.errorOffset) {
    return { kind: 'error-offset', error, message, offset: offsetAt(view, end) };
  }
  return { kind: 'other-error', type, error, message };
}

function encodePayload(chunk: NbdChunk): readonly [type: number, payload: Buffer] {
  switch (chunk.kind) {
    case 'none':
      return [NBD_CHUNK.none, Buffer.alloc(0)];
    case 'offset-data':
      if (chunk.data.length === 0) throw new RangeError('a chunk of data has data');
      return [NBD_CHUNK.offsetData, Buffer.concat([offsetBytes(chunk.offset), chunk.data])];
    case 'offset-hole': {
      if (chunk.length === 0) throw new RangeError('a hole has bytes');
      const length = Buffer.alloc(4);
      length.writeUInt32BE(chunk.length);
      return [NBD_CHUNK.offsetHole, Buffer.concat([offsetBytes(chunk.offset), length])];
    }
    case 'error':
      return [NBD_CHUNK.error, errorBytes(chunk)];
    case 'error-offset':
      return [NBD_CHUNK.errorOffset, Buffer.concat([errorBytes(chunk), offsetBytes(chunk.offset)])];
    case 'other-error':
      return [chunk.type, errorBytes(chunk)];
  }
}

function errorBytes({ error, message }: { readonly error: number; readonly message: string }): Buffer {
  if (error === 0) throw new RangeError('an error of NBD is not 0');
  const text = nbdStringBytes(message);
  const head = Buffer.alloc(6);
  head.writeUInt32BE(error, 0);
  head.writeUInt16BE(text.length, 4);
  return Buffer.concat([head, text]);
}

function writeHeader(
  into: DataView,
  at: number,
  type: number,
  cookie: bigint,
  length: number,
  last: boolean,
): void {
  into.setUint32(at, CHUNK_MAGIC);
  into.setUint16(at + 4, last ? NBD_CHUNK_DONE : 0);
  into.setUint16(at + 6, type);
  into.setBigUint64(at + 8, cookie);
  into.setUint32(at + 16, length);
}

function offsetBytes(offset: number): Buffer {
  const bytes = Buffer.alloc(8);
  setOffset(viewOf(bytes), 0, offset);
  return bytes;
}

function setOffset(view: DataView, at: number, offset: number): void {
  view.setUint32(at, Math.floor(offset / 2 ** 32));
  view.setUint32(at + 4, offset % 2 ** 32);
}

function offsetAt(view: DataView, at: number): number {
  const offset = view.getBigUint64(at);
  if (offset > BigInt(Number.MAX_SAFE_INTEGER))
    throw malformed('an offset of 2^53 or more', NBD_CHUNK_HEADER + at);
  return Number(offset);
}
