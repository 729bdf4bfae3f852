import { Malformed } from '../../errors/malformed.ts';
import { LineReader } from './lines.ts';
import { isReleaseId, isSafePath } from './safe-path.ts';

/**
 * A release where there are no folders: which content lies at which of its paths, payload, records and seals alike. Nobody
 * signs it, and it vouches for nothing; what it leads to is verified as any tree is. Paths in the order of their bytes:
 *
 *     bootseal-list 1
 *     release arch/2026.11.01
 *     file 8247232 <sha256> arch/boot/x86_64/vmlinuz-linux
 */
export interface ReleaseList {
  /** `NAME/VERSION` */
  readonly release: string;
  readonly files: readonly ListEntry[];
}

export interface ListEntry {
  /** In the release, `/`-separated. */
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** Lower-case hex. */
  readonly sha256: string;
}

/** Bytes. */
export const MAX_LIST = 16 * 1024 * 1024;
/** Files of one release. */
export const MAX_LISTED = 100_000;

const FORMAT = 'list of a release';
const MAGIC = 'bootseal-list 1';

/** Writes the one canonical form. Throws `Malformed` for a value that has none. */
export function encodeReleaseList({ release, files }: ReleaseList): Uint8Array {
  const lines = [...files].sort(byPath).map(({ size, sha256, path }) => `file ${size} ${sha256} ${path}`);
  const bytes = Buffer.from(`${[MAGIC, `release ${release}`, ...lines].join('\n')}\n`, 'latin1');
  decodeReleaseList(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeReleaseList(bytes: Uint8Array): ReleaseList {
  if (bytes.length > MAX_LIST) throw new Malformed(FORMAT, `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed(FORMAT, 'not lines of ASCII');
  const lines = new LineReader(FORMAT, text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const release = lines.one('release');
  if (!isReleaseId(release)) throw lines.fail('no NAME/VERSION');
  const files: ListEntry[] = [];
  const folders = new Set<string>();
  while (lines.has('file')) {
    const file = readFile(lines);
    const before = files.at(-1);
    // Two orders would be two spellings, and two files of one path nobody's choice.
    if (before && byPath(before, file) >= 0) throw lines.fail('paths out of order');
    for (let at = file.path.lastIndexOf('/'); at > 0; at = file.path.lastIndexOf('/', at - 1))
      folders.add(file.path.slice(0, at));
    files.push(file);
    if (files.length > MAX_LISTED) throw lines.fail(`more than ${MAX_LISTED} files`);
  }
  lines.end();
  const both = files.find(({ path }) => folders.has(path));
  if (both) throw new Malformed(FORMAT, `${both.path} is a file and a folder`);
  if (files.length === 0) throw new Malformed(FORMAT, 'no file');
  return { release, files };
}

function readFile(lines: LineReader): ListEntry {
  const [size = '', sha256 = '', path = '', ...more] = lines.words('file');
  if (more.length > 0) throw lines.fail('file takes a size, a digest and a path');
  if (!/^[0-9a-f]{64}$/.test(sha256)) throw lines.fail('no SHA-256');
  if (!isSafePath(path)) throw lines.fail('no path');
  return { path, size: lines.count(size, 'size'), sha256 };
}

function byPath(a: ListEntry, b: ListEntry): number {
  return a.path === b.path ? 0 : a.path < b.path ? -1 : 1;
}
