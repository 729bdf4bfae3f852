import { exactly, exportFacts, MAX_NBD_STRING, malformed, nbdString, nbdStringBytes, viewOf } from './nbd.ts';
import { NBD_INFO } from './nbd-option.ts';

/** Answers to NBD's options (all but EXPORT_NAME's). */

/** Types of refusals. */
export const NBD_REFUSED = {
  unsupported: 0x80000001,
  policy: 0x80000002,
  invalid: 0x80000003,
  platform: 0x80000004,
  tlsRequired: 0x80000005,
  unknownExport: 0x80000006,
  shutdown: 0x80000007,
  blockSizeRequired: 0x80000008,
  tooBig: 0x80000009,
  extendedHeadersRequired: 0x8000000a,
} as const;

/** What a server tells of an export. */
export type NbdInfo =
  | { readonly kind: 'export'; readonly size: number; readonly flags: number }
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'description'; readonly text: string }
  | {
      readonly kind: 'block-size';
      /** Bytes: a power of two, at most 65536. */
      readonly minimum: number;
      /** Bytes: a power of two, at least 512 and `minimum`. */
      readonly preferred: number;
      /** Bytes of one payload. */
      readonly maximum: number;
    }
  /** A client passes over what it does not know. */
  | { readonly kind: 'other'; readonly type: number };

export type NbdOptionReply =
  | { readonly kind: 'ack' }
  | {
      readonly kind: 'server';
      readonly name: string;
      /** For people. */
      readonly details: string;
    }
  | { readonly kind: 'info'; readonly info: NbdInfo }
  | {
      readonly kind: 'refused';
      /** Any number with bit 31 set. */
      readonly type: number;
      /** For people; may be empty. */
      readonly message: string;
    }
  | { readonly kind: 'other'; readonly type: number };

/** Bytes of an answer before its data. */
export const NBD_OPTION_REPLY_HEADER = 20;

/** Two strings with their lengths. */
const MAX_DATA = 8 + 2 * MAX_NBD_STRING;
const MAGIC = 0x0003e889045565a9n;
const TYPE = { ack: 1, server: 2, info: 3 } as const;
const REFUSED_BIT = 0x80000000;

/**
 * Bytes of the answer that begins here; undefined where that takes more bytes to tell.
 *
 * @throws Malformed
 */
export function nbdOptionReplyLength(bytes: Uint8Array): number | undefined {
  if (bytes.length < NBD_OPTION_REPLY_HEADER) return undefined;
  const view = viewOf(bytes);
  if (view.getBigUint64(0) !== MAGIC) throw malformed('no answer to an option where one belongs', 0);
  const length = view.getUint32(16);
  if (length > MAX_DATA) throw malformed('an answer with more data than any has', 16);
  return NBD_OPTION_REPLY_HEADER + length;
}

/** @param option the one that was asked and must be answered. @throws Malformed */
export function decodeNbdOptionReply(bytes: Uint8Array, option: number): NbdOptionReply {
  const length = nbdOptionReplyLength(bytes);
  if (length === undefined) throw malformed('an answer that is cut short');
  const view = exactly(bytes, length, 'an answer to an option');
  if (view.getUint32(8) !== option) throw malformed('an answer to another option', 8);
  const type = view.getUint32(12);
  const data = bytes.subarray(NBD_OPTION_REPLY_HEADER);
  switch (type) {
    case TYPE.ack:
      if (data.length > 0) throw malformed('an ACK with data', 16);
      return { kind: 'ack' };
    case TYPE.server:
      return decodeServer(data);
    case TYPE.info:
      return { kind: 'info', info: decodeInfo(data) };
    default:
      return type >= REFUSED_BIT
        ? { kind: 'refused', type, message: nbdString(data, NBD_OPTION_REPLY_HEADER) }
        : { kind: 'other', type };
  }
}

/** @throws RangeError where `decodeNbdOptionReply` would not take it back. */
export function encodeNbdOptionReply(option: number, reply: NbdOptionReply): Buffer {
  switch (reply.kind) {
    case 'ack':
      return framed(option, TYPE.ack, Buffer.alloc(0));
    case 'server': {
      const name = nbdStringBytes(reply.name);
      const length = Buffer.alloc(4);
      length.writeUInt32BE(name.length);
      return framed(option, TYPE.server, Buffer.concat([length, name, nbdStringBytes(reply.details)]));
    }
    case 'info':
      return framed(option, TYPE.info, encodeInfo(reply.info));
    case 'refused':
      if (reply.type < REFUSED_BIT) throw new RangeError('refusals of NBD have bit 31 set');
      return framed(option, reply.type, nbdStringBytes(reply.message));
    case 'other':
      return framed(option, reply.type, Buffer.alloc(0));
  }
}

function framed(option: number, type: number, data: Buffer): Buffer {
  const bytes = Buffer.alloc(NBD_OPTION_REPLY_HEADER + data.length);
  bytes.writeBigUInt64BE(MAGIC, 0);
  bytes.writeUInt32BE(option, 8);
  bytes.writeUInt32BE(type, 12);
  bytes.writeUInt32BE(data.length, 16);
  bytes.set(data, NBD_OPTION_REPLY_HEADER);
  return bytes;
}

function decodeServer(data: Uint8Array): NbdOptionReply {
  if (data.length < 4) throw malformed('an export without its name', NBD_OPTION_REPLY_HEADER);
  const length = viewOf(data).getUint32(0);
  if (length > data.length - 4) throw malformed('a name longer than its answer', NBD_OPTION_REPLY_HEADER);
  const name = nbdString(data.subarray(4, 4 + length), NBD_OPTION_REPLY_HEADER + 4);
  const details = nbdString(data.subarray(4 + length), NBD_OPTION_REPLY_HEADER + 4 + length);
  return { kind: 'server', name, details };
}

function decodeInfo(data: Uint8Array): NbdInfo {
  const at = NBD_OPTION_REPLY_HEADER;
  if (data.length < 2) throw malformed('information without its type', at);
  const type = viewOf(data).getUint16(0);
  switch (type) {
    case NBD_INFO.export:
      return { kind: 'export', ...exportFacts(exactly(data, 12, 'an export'), 2) };
    case NBD_INFO.name:
      return { kind: 'name', name: nbdString(data.subarray(2), at + 2) };
    case NBD_INFO.description:
      return { kind: 'description', text: nbdString(data.subarray(2), at + 2) };
    case NBD_INFO.blockSize: {
      const view = exactly(data, 14, 'block sizes');
      const sizes = { minimum: view.getUint32(2), preferred: view.getUint32(6), maximum: view.getUint32(10) };
      if (!areSizes(sizes)) throw malformed('block sizes that cannot be', at + 2);
      return { kind: 'block-size', ...sizes };
    }
    default:
      return { kind: 'other', type };
  }
}

function encodeInfo(info: NbdInfo): Buffer {
  switch (info.kind) {
    case 'export': {
      const data = Buffer.alloc(12);
      data.writeUInt16BE(NBD_INFO.export, 0);
      data.writeBigUInt64BE(BigInt(info.size), 2);
      data.writeUInt16BE(info.flags, 10);
      return data;
    }
    case 'name':
      return Buffer.concat([typed(NBD_INFO.name), nbdStringBytes(info.name)]);
    case 'description':
      return Buffer.concat([typed(NBD_INFO.description), nbdStringBytes(info.text)]);
    case 'block-size': {
      if (!areSizes(info)) throw new RangeError('these cannot be block sizes of NBD');
      const data = Buffer.alloc(14);
      data.writeUInt16BE(NBD_INFO.blockSize, 0);
      data.writeUInt32BE(info.minimum, 2);
      data.writeUInt32BE(info.preferred, 6);
      data.writeUInt32BE(info.maximum, 10);
      return data;
    }
    case 'other':
      return typed(info.type);
  }
}

function typed(type: number): Buffer {
  const data = Buffer.alloc(2);
  data.writeUInt16BE(type);
  return data;
}

/** doc/proto.md, "Size constraints". */
function areSizes(sizes: { minimum: number; preferred: number; maximum: number }): boolean {
  const { minimum, preferred, maximum } = sizes;
  return (
    isPowerOfTwo(minimum) &&
    minimum <= 65536 &&
    isPowerOfTwo(preferred) &&
    preferred >= Math.max(minimum, 512) &&
    maximum >= preferred
  );
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value));
}
