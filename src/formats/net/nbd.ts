import { Malformed } from '../../errors/malformed.ts';

/**
 * The NBD protocol (doc/proto.md of NetworkBlockDevice/nbd), fixed newstyle: values, and what both sides say
 * before the first option. Options are in `nbd-option.ts`, requests and replies in `nbd-request.ts` and
 * `nbd-reply.ts`.
 *
 * All numbers are most significant byte first. Decoders take exactly the bytes of one message, so whoever
 * reads a stream first asks how long the message is; that question too throws `Malformed` for a wrong magic
 * number or a length out of bounds, before anything is held for it.
 */

/** Port of IANA's registry. */
export const NBD_PORT = 10809;

/** Flags that end the server's greeting. */
export const NBD_GREETING_FLAG = { fixedNewstyle: 1, noZeroes: 2 } as const;

/** Flags the client answers with. The server drops a client that sets any other. */
export const NBD_CLIENT_FLAG = { fixedNewstyle: 1, noZeroes: 2 } as const;

/** What a server says of an export. */
export const NBD_EXPORT_FLAG = {
  hasFlags: 1 << 0,
  readOnly: 1 << 1,
  sendFlush: 1 << 2,
  sendFua: 1 << 3,
  rotational: 1 << 4,
  sendTrim: 1 << 5,
  sendWriteZeroes: 1 << 6,
  sendDf: 1 << 7,
  canMultiConn: 1 << 8,
  sendResize: 1 << 9,
  sendCache: 1 << 10,
  sendFastZero: 1 << 11,
} as const;

/** Error values of replies: these and no other. */
export const NBD_ERROR = {
  permission: 1,
  io: 5,
  noMemory: 12,
  invalid: 22,
  noSpace: 28,
  overflow: 75,
  notSupported: 95,
  shutdown: 108,
} as const;

/** Bytes of a string: names, descriptions, messages. */
export const MAX_NBD_STRING = 4096;

/** Bytes of the greeting and of the client's flags. */
export const NBD_GREETING = 18;
export const NBD_CLIENT_FLAGS = 4;

/** `NBDMAGIC` and `IHAVEOPT`. */
const INIT_PASSWD = 0x4e42444d41474943n;
export const OPTION_MAGIC = 0x49484156454f5054n;

/** What the server says first. @returns its flags. @throws Malformed */
export function decodeNbdGreeting(bytes: Uint8Array): number {
  const view = exactly(bytes, NBD_GREETING, 'the greeting');
  if (view.getBigUint64(0) !== INIT_PASSWD) throw malformed('a greeting that is not NBD', 0);
  // An oldstyle server says how large its one export is instead.
  if (view.getBigUint64(8) !== OPTION_MAGIC) throw malformed('a greeting that is not newstyle', 8);
  return view.getUint16(16);
}

export function encodeNbdGreeting(flags: number): Buffer {
  const bytes = Buffer.alloc(NBD_GREETING);
  bytes.writeBigUInt64BE(INIT_PASSWD, 0);
  bytes.writeBigUInt64BE(OPTION_MAGIC, 8);
  bytes.writeUInt16BE(flags, 16);
  return bytes;
}

/** What the client answers. @returns its flags. @throws Malformed also where one is set that is none. */
export function decodeNbdClientFlags(bytes: Uint8Array): number {
  const flags = exactly(bytes, NBD_CLIENT_FLAGS, "the client's flags").getUint32(0);
  if (flags > (NBD_CLIENT_FLAG.fixedNewstyle | NBD_CLIENT_FLAG.noZeroes)) {
    throw malformed('a client flag that is not one', 0);
  }
  return flags;
}

export function encodeNbdClientFlags(flags: number): Buffer {
  const bytes = Buffer.alloc(NBD_CLIENT_FLAGS);
  bytes.writeUInt32BE(flags);
  return bytes;
}

/** Size and flags of an export. */
export interface NbdExportFacts {
  /** Bytes. */
  readonly size: number;
  /** Of `NBD_EXPORT_FLAG`. */
  readonly flags: number;
}

/** Bytes of the answer to the option EXPORT_NAME, by whether the client set `noZeroes`. */
export function nbdExportAnswerLength(noZeroes: boolean): number {
  return noZeroes ? 10 : 134;
}

/** The answer to the option EXPORT_NAME, the only one without a header. @throws Malformed */
export function decodeNbdExportAnswer(bytes: Uint8Array, noZeroes: boolean): NbdExportFacts {
  const view = exactly(bytes, nbdExportAnswerLength(noZeroes), 'the answer to EXPORT_NAME');
  if (bytes.subarray(10).some((octet) => octet !== 0)) throw malformed('zeroes that are none', 10);
  return exportFacts(view, 0);
}

export function encodeNbdExportAnswer({ size, flags }: NbdExportFacts, noZeroes: boolean): Buffer {
  const bytes = Buffer.alloc(nbdExportAnswerLength(noZeroes));
  bytes.writeBigUInt64BE(BigInt(size), 0);
  bytes.writeUInt16BE(flags, 8);
  return bytes;
}

/** Size and flags as they stand in two kinds of answers. */
export function exportFacts(view: DataView, at: number): NbdExportFacts {
  const size = view.getBigUint64(at);
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw malformed('an export of 2^53 bytes or more', at);
  const flags = view.getUint16(at + 8);
  if ((flags & NBD_EXPORT_FLAG.hasFlags) === 0) throw malformed('export flags without HAS_FLAGS', at + 8);
  return { size: Number(size), flags };
}

export function exactly(bytes: Uint8Array, length: number, what: string): DataView {
  if (bytes.length !== length) throw malformed(`${what}: ${bytes.length} bytes, not ${length}`);
  return viewOf(bytes);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** A byte order mark is kept. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A string of the protocol. @param at bytes before it, for the error. @throws Malformed */
export function nbdString(bytes: Uint8Array, at: number): string {
  if (bytes.length > MAX_NBD_STRING) throw malformed('a string of more than 4096 bytes', at);
  let text: string;
  try {
    text = decoder.decode(bytes);
  } catch {
    throw malformed('a string that is not UTF-8', at);
  }
  if (!isNbdText(text)) throw malformed('a string with control characters', at);
  return text;
}

/** @throws RangeError where `nbdString` would not take it back. */
export function nbdStringBytes(text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length > MAX_NBD_STRING || !isNbdText(text)) {
    throw new RangeError('an NBD string has at most 4096 bytes and no control characters');
  }
  return bytes;
}

/**
 * The protocol forbids NUL only. C0, DEL and C1 would let a name write to a terminal that shows it, and no
 * export has them; lone surrogates are no UTF-8.
 */
function isNbdText(text: string): boolean {
  return !/[\x00-\x1f\x7f-\x9f\p{Surrogate}]/u.test(text);
}

export function malformed(fact: string, offset?: number): Malformed {
  return new Malformed('NBD', fact, offset);
}
