import { isUtf8 } from 'node:buffer';
import { Malformed } from '../../errors/malformed.ts';

/**
 * The newc cpio format ("070701") and its checksummed sister ("070702"), as the Linux kernel unpacks them:
 * Documentation/driver-api/early-userspace/buffer-format.rst. Numbers are eight hexadecimal digits; header
 * and name, and then the data, are padded with zeros to a multiple of four bytes.
 */

const FORMAT = 'newc cpio';
export const CPIO_HEADER_OCTETS = 110;
export const CPIO_TRAILER = 'TRAILER!!!';
/** The kernel's PATH_MAX. It skips a longer name or link target without a word. */
const NAME_LIMIT = 4096;

export type CpioKind = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket';

const KIND_BITS: Readonly<Record<CpioKind, number>> = {
  fifo: 0o010000,
  char: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};
const KINDS = new Map(Object.entries(KIND_BITS).map(([kind, bits]) => [bits, kind as CpioKind]));

export interface DeviceNumber {
  readonly major: number;
  readonly minor: number;
}

/** What every entry carries. All numbers are unsigned 32-bit. */
export interface CpioAttributes {
  readonly kind: CpioKind;
  /** Permission bits, set-id bits and the sticky bit: the low twelve. */
  readonly mode: number;
  readonly ino: number;
  /** Two or more: entries of one archive with this `ino` and `dev` are one file under several names. */
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since 1970. */
  readonly mtime: number;
  readonly dev: DeviceNumber;
  /** What a device node stands for; zeros otherwise. */
  readonly rdev: DeviceNumber;
}

export interface CpioEntry extends CpioAttributes {
  /** As written: `./etc/passwd` and `etc/passwd` differ here. */
  readonly name: string;
  /** A file's content, or a symlink's target; empty for the rest. A view into the archive. */
  readonly data: Uint8Array;
}

export interface CpioHeader extends Omit<CpioAttributes, 'kind'> {
  /** Undefined where the type bits are zero, as they are in a trailer, and where no writer meant it: see `cpioKind`. */
  readonly kind: CpioKind | undefined;
  /** Bytes of data. */
  readonly size: number;
  /** Bytes of the name field, its NUL included, without padding. */
  readonly nameSize: number;
  /** Sum of the data's bytes modulo 2³², in a "070702" archive. */
  readonly checksum: number | undefined;
}

export interface CpioLimits {
  /** Default 200 000. */
  readonly maxEntries?: number;
  /** Bytes of all data together. Default 1 GiB. */
  readonly maxBytes?: number;
}

export const CPIO_MAX_ENTRIES = 200_000;
export const CPIO_MAX_BYTES = 2 ** 30;

/** Zeros that bring `length` up to a multiple of four. */
export function cpioPadding(length: number): number {
  return -length & 3;
}

/**
 * The 110 bytes of a header. `offset` is where they stand, for errors. Throws `Malformed`, also for what
 * the kernel would pass over in silence: a file type that does not exist, a directory with data.
 */
export function decodeCpioHeader(bytes: Uint8Array, offset = 0): CpioHeader {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  const magic = text.slice(0, 6);
  if (magic === '070707') throw new Malformed(FORMAT, 'old portable format, not newc', offset);
  if (magic !== '070701' && magic !== '070702') throw new Malformed(FORMAT, 'no cpio magic', offset);
  if (!/^[0-9A-Fa-f]{104}$/.test(text.slice(6)))
    throw new Malformed(FORMAT, 'header not hexadecimal', offset);
  const field = (index: number): number => Number.parseInt(text.slice(6 + index * 8, 14 + index * 8), 16);

  const rawMode = field(1);
  const kind = KINDS.get(rawMode & 0o170000);
  if ((kind === undefined && rawMode > 0o7777) || rawMode > 0o177777) {
    throw new Malformed(FORMAT, 'no such file type', offset);
  }
  const size = field(6);
  if (size > 0 && kind !== 'file' && kind !== 'symlink') {
    throw new Malformed(FORMAT, `${kind ?? 'trailer'} with data`, offset);
  }
  if (kind === 'symlink' && size > NAME_LIMIT) {
    throw new Malformed(FORMAT, `symlink target of ${size} bytes`, offset);
  }
  const nameSize = field(11);
  if (nameSize < 2 || nameSize > NAME_LIMIT) throw new Malformed(FORMAT, `name of ${nameSize} bytes`, offset);
  const checksum = field(12);
  if (magic === '070701' && checksum !== 0)
    throw new Malformed(FORMAT, 'checksum in a 070701 header', offset);
  return {
    kind,
    mode: rawMode & 0o7777,
    ino: field(0),
    uid: field(2),
    gid: field(3),
    nlink: field(4),
    mtime: field(5),
    size,
    dev: { major: field(7), minor: field(8) },
    rdev: { major: field(9), minor: field(10) },
    nameSize,
    checksum: magic === '070702' && kind === 'file' ? checksum : undefined,
  };
}

/** The type of an entry that is no trailer. Throws `Malformed` where there is none. */
export function cpioKind(header: CpioHeader, name: string, offset = 0): CpioKind {
  if (header.kind === undefined) throw new Malformed(FORMAT, `${name}: no file type`, offset);
  return header.kind;
}

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });

/**
 * A path as a string, though to a kernel it is bytes. A component that is no UTF-8 has each byte from 0x80 on as
 * U+DC80 to U+DCFF, which no UTF-8 decodes to: so different bytes are different strings, and `pathBytes` says them back.
 */
function pathText(bytes: Uint8Array): string {
  if (isUtf8(bytes)) return utf8.decode(bytes);
  const component = (latin1: string): string => {
    const octets = Buffer.from(latin1, 'latin1');
    if (isUtf8(octets)) return utf8.decode(octets);
    return latin1.replace(/[\x80-\xff]/g, (octet) => String.fromCharCode(0xdc00 + octet.charCodeAt(0)));
  };
  return Buffer.from(bytes).toString('latin1').split('/').map(component).join('/');
}

const STRAY_BYTE = /[\udc80-\udcff]/u;

/** The bytes that an archive holds for a path or a symlink target: the inverse of how they are decoded. */
export function pathBytes(path: string): Uint8Array {
  if (!STRAY_BYTE.test(path)) return Buffer.from(path, 'utf8');
  const pieces = Array.from(path, (character) =>
    STRAY_BYTE.test(character)
      ? Buffer.from([character.charCodeAt(0) & 0xff])
      : Buffer.from(character, 'utf8'),
  );
  return Buffer.concat(pieces);
}

/**
 * The name out of its field. Several NULs may end it (gen_init_cpio and dracut align a file's data that
 * way), but nothing may follow them: the kernel stops at the first and would never show the rest.
 */
export function decodeCpioName(field: Uint8Array, offset = 0): string {
  const end = field.indexOf(0);
  if (end < 0) throw new Malformed(FORMAT, 'name without NUL', offset);
  if (end === 0) throw new Malformed(FORMAT, 'empty name', offset);
  if (field.subarray(end).some((octet) => octet !== 0)) {
    throw new Malformed(FORMAT, 'bytes hidden behind the name', offset);
  }
  return pathText(field.subarray(0, end));
}

/**
 * A symlink's target out of its data: up to a NUL, where one stands (Solaris' cpio counts it into the size), and
 * whatever follows it; so the kernel, to which it is a string of C.
 */
export function decodeCpioTarget(data: Uint8Array): string {
  const end = data.indexOf(0);
  return pathText(end < 0 ? data : data.subarray(0, end));
}

/** What "070702" stores of a file: the sum of its bytes modulo 2³². */
export function cpioChecksum(data: Uint8Array, from = 0): number {
  let sum = from;
  for (const octet of data) sum = (sum + octet) >>> 0;
  return sum;
}

/**
 * Exactly one archive, up to and with its trailer; after that only zeros (cpio fills its last block).
 * Order, duplicates and odd names are kept as they are: see `cpioPathTrick`. Data are views. Throws `Malformed`.
 */
export function decodeCpio(bytes: Uint8Array, limits: CpioLimits = {}): CpioEntry[] {
  const maxEntries = limits.maxEntries ?? CPIO_MAX_ENTRIES;
  let budget = limits.maxBytes ?? CPIO_MAX_BYTES;
  const entries: CpioEntry[] = [];
  let at = 0;
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new Malformed(FORMAT, 'ends in mid-entry', at);
    const taken = bytes.subarray(at, at + length);
    at += length;
    return taken;
  };
  const skipPadding = (length: number): void => {
    if (take(cpioPadding(length)).some((octet) => octet !== 0)) {
      throw new Malformed(FORMAT, 'padding not zero', at);
    }
  };
  for (;;) {
    const start = at;
    const header = decodeCpioHeader(take(CPIO_HEADER_OCTETS), start);
    const name = decodeCpioName(take(header.nameSize), start);
    skipPadding(CPIO_HEADER_OCTETS + header.nameSize);
    if (name === CPIO_TRAILER) {
      if (header.size !== 0) throw new Malformed(FORMAT, 'trailer with data', start);
      break;
    }
    if (entries.length === maxEntries) throw new Malformed(FORMAT, `more than ${maxEntries} entries`, start);
    budget -= header.size;
    if (budget < 0) throw new Malformed(FORMAT, 'more data than allowed', start);
    const data = take(header.size);
    skipPadding(header.size);
    if (header.checksum !== undefined && header.checksum !== cpioChecksum(data)) {
      throw new Malformed(FORMAT, `${name}: checksum does not match`, start);
    }
    const kind = cpioKind(header, name, start);
    const { size: _size, nameSize: _nameSize, checksum: _checksum, ...attributes } = header;
    entries.push({ ...attributes, kind, name, data });
  }
  if (bytes.subarray(at).some((octet) => octet !== 0)) {
    throw new Malformed(FORMAT, 'bytes after the trailer', at);
  }
  return entries;
}

/** What is odd about a name, if anything: it does not say in plain words where the file lands. */
export function cpioPathTrick(name: string): 'absolute' | 'dot-dot' | undefined {
  if (name.startsWith('/')) return 'absolute';
  return name.split('/').includes('..') ? 'dot-dot' : undefined;
}

const NOTHING = new Uint8Array(0);
const NO_DEVICE: DeviceNumber = { major: 0, minor: 0 };

/**
 * Header and name of an entry whose data, `size` bytes of them, the caller writes behind it, and zeros up to a multiple
 * of four. For archives that are larger than memory. @throws as `encodeCpio` does.
 */
export function encodeCpioHead(entry: CpioEntry, size: number): Uint8Array {
  return head(entry, KIND_BITS[entry.kind], false, size);
}

/** What ends an archive. */
export function encodeCpioTrailer(): Uint8Array {
  return encodeCpio([]);
}

/** Header and name of one record, padded. */
function head(
  entry: CpioEntry,
  typeBits: number,
  checksummed: boolean,
  size = entry.data.length,
): Uint8Array {
  const name = Buffer.concat([pathBytes(entry.name), Buffer.alloc(1)]);
  if (entry.mode > 0o7777) throw new RangeError(`${entry.name}: mode beyond twelve bits`);
  // A kernel takes an empty one, and drops what does not fit a page.
  if (entry.kind === 'symlink' && (size === 0 || size >= NAME_LIMIT)) {
    throw new Malformed(FORMAT, `${entry.name}: symlink target of ${size} bytes`);
  }
  const fields = [
    entry.ino,
    typeBits | entry.mode,
    entry.uid,
    entry.gid,
    entry.nlink,
    entry.mtime,
    size,
    entry.dev.major,
    entry.dev.minor,
    entry.rdev.major,
    entry.rdev.minor,
    name.length,
    checksummed && entry.kind === 'file' ? cpioChecksum(entry.data) : 0,
  ];
  const hex = fields.map((value) => {
    if (!Number.isInteger(value) || value < 0 || value > 0xffffffff) {
      throw new RangeError(`${entry.name}: ${value} does not fit a cpio header`);
    }
    return value.toString(16).toUpperCase().padStart(8, '0');
  });
  const header = Buffer.from((checksummed ? '070702' : '070701') + hex.join(''), 'latin1');
  decodeCpioHeader(header);
  decodeCpioName(name);
  return Buffer.concat([header, name, Buffer.alloc(cpioPadding(header.length + name.length))]);
}

/**
 * The archive with its trailer, no block filling. What it writes `decodeCpio` reads back, or it throws:
 * `Malformed` for names, targets and data where none belong, `RangeError` for numbers.
 */
export function encodeCpio(
  entries: readonly CpioEntry[],
  options: { checksummed?: boolean } = {},
): Uint8Array {
  const checksummed = options.checksummed ?? false;
  const parts: Uint8Array[] = [];
  for (const entry of entries) {
    if (entry.name === CPIO_TRAILER) throw new Malformed(FORMAT, 'an entry named as the trailer');
    if (entry.kind === 'symlink' && entry.data.includes(0)) {
      throw new Malformed(FORMAT, `${entry.name}: NUL inside symlink target`);
    }
    parts.push(head(entry, KIND_BITS[entry.kind], checksummed));
    parts.push(entry.data, Buffer.alloc(cpioPadding(entry.data.length)));
  }
  const end: CpioEntry = { ...attributes('file', 0, 0, 0), name: CPIO_TRAILER, data: NOTHING };
  return Buffer.concat([...parts, head(end, 0, checksummed)]);
}

function attributes(kind: CpioKind, mode: number, ino: number, mtime: number): CpioAttributes {
  return { kind, mode, ino, nlink: 1, uid: 0, gid: 0, mtime, dev: NO_DEVICE, rdev: NO_DEVICE };
}

/** What a new archive is to hold. The kernel makes no parent directories: name them, before their content. */
export type CpioSource = { readonly name: string; readonly mode?: number } & (
  | { readonly kind: 'file'; readonly data: Uint8Array }
  | { readonly kind: 'link'; readonly to: string }
  | { readonly kind: 'symlink'; readonly target: string }
  | { readonly kind: 'directory' }
  | { readonly kind: 'char' | 'block'; readonly rdev: DeviceNumber }
);

/**
 * Entries owned by root, numbered in the order given, so that equal sources give equal bytes. A `link` is
 * a further name of an earlier file; its data move to the last name, where cpio and gen_init_cpio put them.
 * `mtime` in seconds. Throws `RangeError` when a link names no earlier file.
 */
export function cpioEntries(sources: readonly CpioSource[], mtime: number): CpioEntry[] {
  const entries: CpioEntry[] = [];
  const names = new Map<string, number[]>();
  for (const source of sources) {
    const at = entries.length;
    const make = (kind: CpioKind, mode: number, data: Uint8Array = NOTHING): CpioEntry => ({
      ...attributes(kind, source.mode ?? mode, at + 1, mtime),
      name: source.name,
      data,
    });
    if (source.kind === 'link') {
      const group = names.get(source.to) ?? [];
      const last = group[group.length - 1] ?? -1;
      const holder = entries[last];
      if (holder === undefined) throw new RangeError(`${source.name}: no file ${source.to} before it`);
      entries[last] = { ...holder, data: NOTHING };
      group.push(at);
      names.set(source.name, group);
      entries.push({ ...holder, name: source.name });
      for (const index of group) {
        const entry = entries[index];
        if (entry !== undefined) entries[index] = { ...entry, nlink: group.length };
      }
    } else if (source.kind === 'file') {
      names.set(source.name, [at]);
      entries.push(make('file', 0o644, source.data));
    } else if (source.kind === 'symlink') {
      entries.push(make('symlink', 0o777, pathBytes(source.target)));
    } else if (source.kind === 'directory') {
      entries.push({ ...make('directory', 0o755), nlink: 2 });
    } else {
      entries.push({ ...make(source.kind, 0o600), rdev: source.rdev });
    }
  }
  return entries;
}
