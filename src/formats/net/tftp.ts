import { Malformed } from '../../errors/malformed.ts';

/**
 * Packets of TFTP (RFC 1350), with options (RFC 2347).
 *
 * Each packet is one datagram; all numbers are 16 bits, most significant byte first; all texts end in one
 * NUL. The decoder takes whole datagrams and nothing odd: a text without its NUL, bytes behind the end,
 * control characters and repeated options are `Malformed`.
 */
export type TftpPacket = TftpRequest | TftpData | TftpAck | TftpError | TftpOack;

export const TFTP_OPCODE = { rrq: 1, wrq: 2, data: 3, ack: 4, error: 5, oack: 6 } as const;

/** Error codes of RFC 1350 (appendix) and, for 8, RFC 2347. */
export const TFTP_ERROR = {
  undefined: 0,
  fileNotFound: 1,
  accessViolation: 2,
  diskFull: 3,
  illegalOperation: 4,
  unknownTransferId: 5,
  fileExists: 6,
  noSuchUser: 7,
  optionNegotiation: 8,
} as const;

/** By lower-case name, in the order of the packet. */
export type TftpOptions = ReadonlyMap<string, string>;

export interface TftpRequest {
  readonly kind: 'rrq' | 'wrq';
  /** As sent: no control characters, but otherwise anything. Not a path until someone has checked it. */
  readonly filename: string;
  readonly mode: TftpMode;
  readonly options: TftpOptions;
}

/** `mail` is obsolete (RFC 1350 §5) but a mode all the same. */
export type TftpMode = 'netascii' | 'octet' | 'mail';

export interface TftpData {
  readonly kind: 'data';
  /** 0 to 65535; numbers of longer files roll over. */
  readonly block: number;
  /** At most 65464 bytes (RFC 2348). Shares the datagram's memory. */
  readonly data: Uint8Array;
}

export interface TftpAck {
  readonly kind: 'ack';
  readonly block: number;
}

export interface TftpError {
  readonly kind: 'error';
  /** Any 16-bit number: one that no RFC knows still ends the transfer. */
  readonly code: number;
  readonly message: string;
}

export interface TftpOack {
  readonly kind: 'oack';
  /** At least one. */
  readonly options: TftpOptions;
}

/** Bytes of DATA before its data, and of a whole ACK. */
export const TFTP_HEADER = 4;
/** RFC 2347: a request, options and all, is at most this many bytes. OACK is held to the same. */
export const MAX_TFTP_REQUEST = 512;
/** RFC 2348. */
export const MIN_BLKSIZE = 8;
export const MAX_BLKSIZE = 65464;
/** Longest text of an ERROR, bytes without its NUL. */
const MAX_MESSAGE = 511;

const MODES: readonly string[] = ['netascii', 'octet', 'mail'] satisfies TftpMode[];

/** The opcode; undefined where the datagram is too short to have one. Says nothing about the rest. */
export function tftpOpcode(bytes: Uint8Array): number | undefined {
  return bytes.length < 2 ? undefined : u16(bytes, 0);
}

/** @throws Malformed */
export function decodeTftp(bytes: Uint8Array): TftpPacket {
  switch (tftpOpcode(bytes)) {
    case TFTP_OPCODE.rrq:
      return decodeRequest(bytes, 'rrq');
    case TFTP_OPCODE.wrq:
      return decodeRequest(bytes, 'wrq');
    case TFTP_OPCODE.data:
      return decodeData(bytes);
    case TFTP_OPCODE.ack:
      if (bytes.length !== TFTP_HEADER) throw malformed('an ACK that is not four bytes');
      return { kind: 'ack', block: u16(bytes, 2) };
    case TFTP_OPCODE.error:
      return decodeError(bytes);
    case TFTP_OPCODE.oack:
      return decodeOack(bytes);
    case undefined:
      throw malformed('no opcode');
    default:
      throw malformed('an opcode that is not one', 0);
  }
}

/** @throws RangeError where the value cannot be written so that `decodeTftp` would take it back. */
export function encodeTftp(packet: TftpPacket): Buffer {
  switch (packet.kind) {
    case 'rrq':
    case 'wrq': {
      const { kind, filename, mode, options } = packet;
      if (!isName(filename)) throw new RangeError('a TFTP file name is text without control characters');
      return bounded([filename, mode, ...written(options)], TFTP_OPCODE[kind]);
    }
    case 'data': {
      const { block, data } = packet;
      if (data.length > MAX_BLKSIZE) throw new RangeError('a TFTP block is at most 65464 bytes');
      const bytes = Buffer.allocUnsafe(TFTP_HEADER + data.length);
      writeTftpDataHeader(bytes, block);
      bytes.set(data, TFTP_HEADER);
      return bytes;
    }
    case 'ack':
      return header(TFTP_OPCODE.ack, packet.block);
    case 'error': {
      const message = Buffer.from(packet.message);
      if (message.length > MAX_MESSAGE || !isText(packet.message)) {
        throw new RangeError('a TFTP error message is short and has no control characters');
      }
      return Buffer.concat([header(TFTP_OPCODE.error, packet.code), message, Buffer.of(0)]);
    }
    case 'oack': {
      if (packet.options.size === 0) throw new RangeError('an OACK has an option');
      return bounded(written(packet.options), TFTP_OPCODE.oack);
    }
  }
}

/** Writes what stands before the data of a DATA packet, for senders that fill one buffer again and again. */
export function writeTftpDataHeader(into: Buffer, block: number): void {
  into.writeUInt16BE(TFTP_OPCODE.data, 0);
  into.writeUInt16BE(block, 2);
}

/**
 * The number that an option's value is: decimal digits, no sign, no blank, no needless zero.
 *
 * @throws Malformed where it is none, or not from `min` to `max`.
 */
export function tftpNumber(value: string, min: number, max: number): number {
  const number = /^(0|[1-9][0-9]{0,14})$/.test(value) ? Number(value) : undefined;
  if (number === undefined) throw malformed('an option value that is not a decimal number');
  if (number < min || number > max) throw malformed(`an option value that is not from ${min} to ${max}`);
  return number;
}

function decodeRequest(bytes: Uint8Array, kind: 'rrq' | 'wrq'): TftpRequest {
  const cursor = texts(bytes);
  const filename = utf8(cursor.next(), 2);
  if (!isName(filename)) throw malformed('a file name that is empty or has control characters', 2);
  const at = cursor.at;
  const mode = latin1(cursor.next()).toLowerCase();
  if (!isMode(mode)) throw malformed('a mode that is not one', at);
  return { kind, filename, mode, options: decodeOptions(cursor) };
}

function decodeData(bytes: Uint8Array): TftpData {
  if (bytes.length < TFTP_HEADER) throw malformed('a DATA packet without its block number');
  if (bytes.length > TFTP_HEADER + MAX_BLKSIZE) throw malformed('a block of more than 65464 bytes');
  return { kind: 'data', block: u16(bytes, 2), data: bytes.subarray(TFTP_HEADER) };
}

function decodeError(bytes: Uint8Array): TftpError {
  if (bytes.length < TFTP_HEADER + 1) throw malformed('an ERROR without its text');
  if (bytes.length > TFTP_HEADER + MAX_MESSAGE + 1) throw malformed('an ERROR that is too long');
  if (bytes.indexOf(0, TFTP_HEADER) !== bytes.length - 1) {
    throw malformed('an ERROR whose text does not end with its NUL');
  }
  const message = utf8(bytes.subarray(TFTP_HEADER, -1), TFTP_HEADER);
  if (!isText(message)) throw malformed('an ERROR whose text has control characters', TFTP_HEADER);
  return { kind: 'error', code: u16(bytes, 2), message };
}

function decodeOack(bytes: Uint8Array): TftpOack {
  const options = decodeOptions(texts(bytes));
  if (options.size === 0) throw malformed('an OACK without an option');
  return { kind: 'oack', options };
}

interface Texts {
  readonly at: number;
  readonly done: boolean;
  next(): Uint8Array;
}

/** The NUL-terminated texts behind an opcode. */
function texts(bytes: Uint8Array): Texts {
  if (bytes.length > MAX_TFTP_REQUEST) throw malformed('more than 512 bytes');
  let at = 2;
  return {
    get at() {
      return at;
    },
    get done() {
      return at === bytes.length;
    },
    next() {
      const end = bytes.indexOf(0, at);
      if (end === -1) throw malformed('a text without its NUL', at);
      const text = bytes.subarray(at, end);
      at = end + 1;
      return text;
    },
  };
}

function decodeOptions(cursor: Texts): TftpOptions {
  const options = new Map<string, string>();
  while (!cursor.done) {
    const { at } = cursor;
    const name = latin1(cursor.next());
    const value = latin1(cursor.next());
    if (!isOptionName(name)) throw malformed('an option name that is empty or not plain ASCII', at);
    if (!isOptionValue(value)) throw malformed('an option value that is not plain ASCII', at);
    // RFC 2347: names are case-insensitive, and one may be given only once.
    const key = name.toLowerCase();
    if (options.has(key)) throw malformed('an option that is given twice', at);
    options.set(key, value);
  }
  return options;
}

function written(options: TftpOptions): readonly string[] {
  return [...options].flatMap(([name, value]) => {
    if (!isOptionName(name) || name !== name.toLowerCase() || !isOptionValue(value)) {
      throw new RangeError('TFTP options are plain ASCII, their names in lower case');
    }
    return [name, value];
  });
}

function bounded(parts: readonly string[], opcode: number): Buffer {
  const bytes = Buffer.from(`\0\0${parts.map((part) => `${part}\0`).join('')}`);
  if (bytes.length > MAX_TFTP_REQUEST) throw new RangeError('a TFTP request is at most 512 bytes');
  bytes.writeUInt16BE(opcode, 0);
  return bytes;
}

function header(opcode: number, number: number): Buffer {
  const bytes = Buffer.allocUnsafe(TFTP_HEADER);
  bytes.writeUInt16BE(opcode, 0);
  bytes.writeUInt16BE(number, 2);
  return bytes;
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

/** RFC 1350 says netascii; names beyond ASCII travel as UTF-8 in practice. A byte order mark is kept. */
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function utf8(bytes: Uint8Array, at: number): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw malformed('a text that is not UTF-8', at);
  }
}

function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
}

function isMode(text: string): text is TftpMode {
  return MODES.includes(text);
}

/** C0, DEL and C1 would let a name write to a terminal that shows the log; lone surrogates are no UTF-8. */
function isText(text: string): boolean {
  return !/[\x00-\x1f\x7f-\x9f\p{Surrogate}]/u.test(text);
}

function isName(text: string): boolean {
  return text !== '' && isText(text);
}

function isOptionName(text: string): boolean {
  return /^[\x21-\x7e]+$/.test(text);
}

function isOptionValue(text: string): boolean {
  return /^[\x20-\x7e]*$/.test(text);
}

function malformed(fact: string, offset?: number): Malformed {
  return new Malformed('TFTP', fact, offset);
}
