import { Malformed } from '../../errors/malformed.ts';

/**
 * The format of GNU sha512sum and its sisters: a digest, a space, a space or (binary mode) an asterisk, a
 * name. A name with a backslash, line feed or carriage return is escaped, and its line begins with a
 * backslash (coreutils manual, "md5sum invocation").
 */

const FORMAT = 'checksum file';
const LINE_LIMIT = 100_000;

export interface Checksum {
  /** Relative to the directory where the file is checked. As written: nothing here judges a path. */
  readonly name: string;
  /** Lower-case hexadecimal. */
  readonly digest: string;
  /** The asterisk. It changes nothing on GNU systems. */
  readonly binary?: boolean;
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\n': '\\n', '\r': '\\r' };
const UNESCAPES = new Map(Object.entries(ESCAPES).map(([plain, escaped]) => [escaped, plain]));
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function demandDistinct(names: readonly string[]): void {
  // Two digests for one name: which of them counts is the reader's guess.
  if (new Set(names).size !== names.length) throw new Malformed(FORMAT, 'a name twice');
}

/**
 * All lines, at least one: `sha512sum -c` refuses an empty file too. `digestOctets` is 64 for SHA-512.
 * Stricter than GNU: one spelling of a line, a final line feed, no name twice. Throws `Malformed`.
 */
export function decodeChecksums(bytes: Uint8Array, digestOctets = 64): Checksum[] {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new Malformed(FORMAT, 'not in UTF-8');
  }
  const lines = text.split('\n');
  if (lines.pop() !== '') throw new Malformed(FORMAT, 'last line does not end');
  if (lines.length === 0) throw new Malformed(FORMAT, 'no line');
  if (lines.length > LINE_LIMIT) throw new Malformed(FORMAT, `more than ${LINE_LIMIT} lines`);
  const pattern = new RegExp(`^(\\\\?)([0-9a-f]{${digestOctets * 2}}) ([ *])([^\\0\\r]+)$`);
  const checksums = lines.map((line, index) => {
    const [, escaped, digest, marker, written] = pattern.exec(line) ?? [];
    if (digest === undefined || written === undefined) {
      throw new Malformed(FORMAT, `line ${index + 1} not as sha512sum writes it`);
    }
    const name = written.replace(/\\(.?)/gs, (pair) => {
      const plain = escaped ? UNESCAPES.get(pair) : undefined;
      if (plain === undefined) throw new Malformed(FORMAT, `line ${index + 1} with a stray backslash`);
      return plain;
    });
    if (escaped && name === written) throw new Malformed(FORMAT, `line ${index + 1} escapes nothing`);
    return { name, digest, ...(marker === '*' ? { binary: true } : {}) };
  });
  demandDistinct(checksums.map(({ name }) => name));
  return checksums;
}

/** The lines for `decodeChecksums`, in the order given. Throws `Malformed` on what they could not carry. */
export function encodeChecksums(checksums: readonly Checksum[]): string {
  if (checksums.length === 0) throw new Malformed(FORMAT, 'no line');
  demandDistinct(checksums.map(({ name }) => name));
  const lines = checksums.map(({ name, digest, binary }) => {
    if (!/^(?:[0-9a-f]{2})+$/.test(digest)) throw new Malformed(FORMAT, 'digest not lower-case hexadecimal');
    if (name === '' || name.includes('\0')) throw new Malformed(FORMAT, 'no such name');
    if (Buffer.from(name, 'utf8').toString('utf8') !== name) throw new Malformed(FORMAT, 'name not in UTF-8');
    const written = name.replace(/[\\\n\r]/g, (plain) => ESCAPES[plain] ?? plain);
    return `${written === name ? '' : '\\'}${digest} ${binary ? '*' : ' '}${written}\n`;
  });
  return lines.join('');
}
