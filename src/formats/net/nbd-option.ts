import {
  exactly,
  MAX_NBD_STRING,
  malformed,
  nbdString,
  nbdStringBytes,
  OPTION_MAGIC,
  viewOf,
} from './nbd.ts';

/** Options of NBD's handshake: what a client asks before it reads. The answers are in `nbd-option-reply.ts`. */

export const NBD_OPTION = {
  exportName: 1,
  abort: 2,
  list: 3,
  startTls: 5,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
  extendedHeaders: 11,
} as const;

/** What INFO and GO may ask for, and the types of what they are told. */
export const NBD_INFO = { export: 0, name: 1, description: 2, blockSize: 3 } as const;

/** Bytes of an option before its data. */
export const NBD_OPTION_HEADER = 16;

/**
 * Bytes of data that an option may have here. GO with the longest name and every information request there
 * is fits four times; the header's 4 GiB are nobody's.
 */
export const MAX_NBD_OPTION_DATA = 16 * 1024;

/** One option as it travels: what its data means is `decodeNbdOption`'s affair. */
export interface NbdOptionFrame {
  /** Any 32-bit number. */
  readonly option: number;
  /** Shares the memory of what was decoded. */
  readonly data: Uint8Array;
}

export type NbdOption =
  | { readonly kind: 'export-name'; readonly name: string }
  | { readonly kind: 'abort' | 'list' | 'structured-reply' }
  | {
      readonly kind: 'info' | 'go';
      /** Empty for the default export. */
      readonly name: string;
      /** Types of information that are wanted; any 16-bit numbers, none twice. */
      readonly wants: readonly number[];
    }
  /** Known or not: an option that this side does not speak. */
  | { readonly kind: 'other'; readonly option: number };

/**
 * Bytes of the option that begins here; undefined where that takes more bytes to tell.
 *
 * @throws Malformed for a wrong magic number, at its first wrong byte, and for data beyond the bound.
 */
export function nbdOptionLength(bytes: Uint8Array): number | undefined {
  for (let at = 0; at < Math.min(8, bytes.length); at += 1) {
    if (bytes[at] !== MAGIC[at]) throw malformed('no option where one belongs', at);
  }
  if (bytes.length < NBD_OPTION_HEADER) return undefined;
  const length = viewOf(bytes).getUint32(12);
  if (length > MAX_NBD_OPTION_DATA) throw malformed('an option with more data than any has', 12);
  return NBD_OPTION_HEADER + length;
}

/** @throws Malformed */
export function decodeNbdOptionFrame(bytes: Uint8Array): NbdOptionFrame {
  const length = nbdOptionLength(bytes);
  if (length === undefined) throw malformed('an option that is cut short');
  const view = exactly(bytes, length, 'an option');
  return { option: view.getUint32(8), data: bytes.subarray(NBD_OPTION_HEADER) };
}

export function encodeNbdOptionFrame({ option, data }: NbdOptionFrame): Buffer {
  if (data.length > MAX_NBD_OPTION_DATA) throw new RangeError('an NBD option has at most 16 KiB of data');
  const bytes = Buffer.alloc(NBD_OPTION_HEADER + data.length);
  bytes.writeBigUInt64BE(OPTION_MAGIC, 0);
  bytes.writeUInt32BE(option, 8);
  bytes.writeUInt32BE(data.length, 12);
  bytes.set(data, NBD_OPTION_HEADER);
  return bytes;
}

/** What an option says. @throws Malformed, after which the next option can still be read. */
export function decodeNbdOption({ option, data }: NbdOptionFrame): NbdOption {
  switch (option) {
    case NBD_OPTION.exportName:
      return { kind: 'export-name', name: nbdString(data, 0) };
    case NBD_OPTION.abort:
      // The one option whose data is to be passed over.
      return { kind: 'abort' };
    case NBD_OPTION.list:
      return empty('list', data);
    case NBD_OPTION.structuredReply:
      return empty('structured-reply', data);
    case NBD_OPTION.info:
      return { kind: 'info', ...decodeAsked(data) };
    case NBD_OPTION.go:
      return { kind: 'go', ...decodeAsked(data) };
    default:
      return { kind: 'other', option };
  }
}

/** @throws RangeError where `decodeNbdOption` would not take it back. */
export function encodeNbdOption(option: NbdOption): Buffer {
  switch (option.kind) {
    case 'export-name':
      return encodeNbdOptionFrame({ option: NBD_OPTION.exportName, data: nbdStringBytes(option.name) });
    case 'abort':
      return encodeNbdOptionFrame({ option: NBD_OPTION.abort, data: NOTHING });
    case 'list':
      return encodeNbdOptionFrame({ option: NBD_OPTION.list, data: NOTHING });
    case 'structured-reply':
      return encodeNbdOptionFrame({ option: NBD_OPTION.structuredReply, data: NOTHING });
    case 'info':
    case 'go':
      return encodeNbdOptionFrame({ option: NBD_OPTION[option.kind], data: encodeAsked(option) });
    case 'other':
      return encodeNbdOptionFrame({ option: option.option, data: NOTHING });
  }
}

interface Asked {
  readonly name: string;
  readonly wants: readonly number[];
}

function decodeAsked(data: Uint8Array): Asked {
  if (data.length < 6) throw malformed('an information request that is cut short');
  const view = viewOf(data);
  const length = view.getUint32(0);
  if (length > MAX_NBD_STRING || length > data.length - 6)
    throw malformed('a name longer than its option', 0);
  const name = nbdString(data.subarray(4, 4 + length), 4);
  const count = view.getUint16(4 + length);
  exactly(data, 6 + length + 2 * count, 'an information request');
  const wants = Array.from({ length: count }, (_, index) => view.getUint16(6 + length + 2 * index));
  if (new Set(wants).size !== count) throw malformed('information that is asked for twice', 6 + length);
  return { name, wants };
}

function encodeAsked({ name, wants }: Asked): Buffer {
  if (new Set(wants).size !== wants.length) throw new RangeError('NBD information is asked for once');
  const text = nbdStringBytes(name);
  const data = Buffer.alloc(6 + text.length + 2 * wants.length);
  data.writeUInt32BE(text.length, 0);
  data.set(text, 4);
  data.writeUInt16BE(wants.length, 4 + text.length);
  for (const [index, type] of wants.entries()) data.writeUInt16BE(type, 6 + text.length + 2 * index);
  return data;
}

function empty<K extends 'list' | 'structured-reply'>(kind: K, data: Uint8Array): { readonly kind: K } {
  if (data.length > 0) throw malformed('data in an option that has none', 0);
  return { kind };
}

const NOTHING = new Uint8Array();
const MAGIC = Buffer.from('IHAVEOPT');
