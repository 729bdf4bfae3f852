import { Malformed } from '../../errors/malformed.ts';

/**
 * The one way in which an archive of plain files is written here: the ustar format (IEEE Std 1003.1, "pax", ustar Interchange
 * Format), every member a regular file of nobody's (0, 0) and of no time, so that equal members make equal bytes. What has
 * 8 GiB or more says so in an extended header of its own (pax Extended Header, `size`), since eleven octal digits cannot.
 *
 * Whoever reads takes exactly what would be written: links, devices, folders, sparse files and headers of other programs
 * are refused, and so is a number that is written in another way.
 */

export const TAR_BLOCK = 512;
/** What ends an archive: two blocks of zeros. */
export const TAR_END_OCTETS = 2 * TAR_BLOCK;

export interface TarMember {
  /** At most 255 bytes of ASCII, with a slash in the right place where it has more than 100. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
}

const FORMAT = 'tar';
const NAME = { at: 0, octets: 100 };
const MODE = { at: 100, octets: 8 };
const UID = { at: 108, octets: 8 };
const GID = { at: 116, octets: 8 };
const SIZE = { at: 124, octets: 12 };
const MTIME = { at: 136, octets: 12 };
const CHECKSUM = { at: 148, octets: 8 };
const TYPE_AT = 156;
const MAGIC = { at: 257, bytes: 'ustar\x0000' };
const PREFIX = { at: 345, octets: 155 };

const FILE = '0';
const EXTENDED = 'x';
/** The largest size that the field of a header holds. */
const MOST_OCTAL = 0o77777777777;
const EXTENDED_NAME = '././@PaxHeader';

/** What other programs write, for a word about it. */
const KINDS: Readonly<Record<string, string>> = {
  '\0': 'a file of the old format',
  '1': 'a hard link',
  '2': 'a symbolic link',
  '3': 'a device',
  '4': 'a device',
  '5': 'a folder',
  '6': 'a FIFO',
  S: 'a sparse file',
  L: 'a long name as GNU writes it',
  K: 'a long link as GNU writes it',
  g: 'a header for all that follow',
};

/** Zeros that bring a member's content up to a whole block. */
export function tarPadding(size: number): number {
  return (TAR_BLOCK - (size % TAR_BLOCK)) % TAR_BLOCK;
}

/** Bytes of the headers of a member with a content of `size` bytes. */
export function tarHeaderOctets(size: number): number {
  return size > MOST_OCTAL ? 3 * TAR_BLOCK : TAR_BLOCK;
}

/** The headers of a member: a multiple of 512 bytes. Throws `Malformed` for one that has none. */
export function encodeTarHeader({ path, size }: TarMember): Uint8Array {
  if (!Number.isSafeInteger(size) || size < 0) throw new Malformed(FORMAT, 'a size that is none');
  if (size <= MOST_OCTAL) return header(path, FILE, size);
  const record = paxSize(size);
  const block = Buffer.alloc(TAR_BLOCK);
  block.write(record, 'latin1');
  return Buffer.concat([header(EXTENDED_NAME, EXTENDED, record.length), block, header(path, FILE, 0)]);
}

/** How many bytes of headers begin with this block: what `decodeTarHeader` wants. Throws `Malformed`. */
export function tarHeaderLength(first: Uint8Array): number {
  const type = String.fromCharCode(first[TYPE_AT] ?? 0);
  return type === EXTENDED ? 3 * TAR_BLOCK : TAR_BLOCK;
}

/** The headers of a member, as `encodeTarHeader` writes them and in no other way. Throws `Malformed`. */
export function decodeTarHeader(bytes: Uint8Array): TarMember {
  const last = Buffer.from(bytes.subarray(bytes.length - TAR_BLOCK));
  if (bytes.length !== TAR_BLOCK && bytes.length !== 3 * TAR_BLOCK)
    throw new Malformed(FORMAT, 'a header of another length');
  const type = String.fromCharCode(last[TYPE_AT] ?? 0);
  if (last.toString('latin1', MAGIC.at, MAGIC.at + MAGIC.bytes.length) !== MAGIC.bytes)
    throw new Malformed(FORMAT, 'no header of the ustar format');
  if (type !== FILE) throw new Malformed(FORMAT, `${KINDS[type] ?? 'something'} where a file belongs`);
  const [prefix, name] = [textAt(last, PREFIX), textAt(last, NAME)];
  const path = prefix === '' ? name : `${prefix}/${name}`;
  const size = bytes.length === TAR_BLOCK ? octalAt(last, SIZE) : extendedSize(bytes);
  if (Buffer.compare(encodeTarHeader({ path, size }), bytes) !== 0)
    throw new Malformed(FORMAT, 'a header with an owner, a mode, a time or numbers of another writer');
  return { path, size };
}

function header(path: string, type: string, size: number): Buffer {
  const block = Buffer.alloc(TAR_BLOCK);
  const [prefix, name] = splitPath(path);
  const put = (text: string, { at }: { readonly at: number }) => block.write(text, at, 'latin1');
  const number = (value: number, field: { readonly at: number; readonly octets: number }) =>
    put(`${value.toString(8).padStart(field.octets - 1, '0')}\0`, field);
  put(name, NAME);
  number(0o644, MODE);
  number(0, UID);
  number(0, GID);
  number(size, SIZE);
  number(0, MTIME);
  block[TYPE_AT] = type.charCodeAt(0);
  put(MAGIC.bytes, MAGIC);
  put(prefix, PREFIX);
  // The sum of all bytes, its own field as blanks: six digits, NUL, blank.
  put(' '.repeat(CHECKSUM.octets), CHECKSUM);
  const sum = block.reduce((total, octet) => total + octet, 0);
  put(`${sum.toString(8).padStart(6, '0')}\0 `, CHECKSUM);
  return block;
}

/** A path over two fields: the first slash that leaves a name that fits. */
function splitPath(path: string): [prefix: string, name: string] {
  if (!/^[!-~]+$/.test(path)) throw new Malformed(FORMAT, 'a name that is not of ASCII, or empty');
  if (path.length <= NAME.octets) return ['', path];
  const at = path.indexOf('/', path.length - NAME.octets - 1);
  if (at > 0 && at <= PREFIX.octets && at < path.length - 1) return [path.slice(0, at), path.slice(at + 1)];
  throw new Malformed(FORMAT, 'a name that is too long');
}

/** `LENGTH size=N\n`, where the length counts itself. */
function paxSize(size: number): string {
  const rest = ` size=${size}\n`;
  const digits = String(rest.length + 2).length;
  return `${rest.length + digits}${rest}`;
}

function extendedSize(bytes: Uint8Array): number {
  const record = Buffer.from(bytes.subarray(TAR_BLOCK, 2 * TAR_BLOCK)).toString('latin1');
  const [, size] = /^\d+ size=([1-9][0-9]{0,15})\n\0*$/.exec(record) ?? [];
  if (size === undefined || !Number.isSafeInteger(Number(size)) || Number(size) <= MOST_OCTAL)
    throw new Malformed(FORMAT, 'an extended header that does not name a large size');
  return Number(size);
}

function octalAt(block: Buffer, { at, octets }: { readonly at: number; readonly octets: number }): number {
  const text = block.toString('latin1', at, at + octets);
  if (!/^[0-7]{11}\0$/.test(text)) throw new Malformed(FORMAT, 'a size that is no octal number');
  return Number.parseInt(text, 8);
}

function textAt(block: Buffer, { at, octets }: { readonly at: number; readonly octets: number }): string {
  const text = block.toString('latin1', at, at + octets);
  const end = text.indexOf('\0');
  return end < 0 ? text : text.slice(0, end);
}
