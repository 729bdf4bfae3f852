import { Malformed } from '../../errors/malformed.ts';
import { LineReader } from './lines.ts';
import { isSafePath } from './safe-path.ts';

/**
 * Every script, record and seal of a release, by digest: what a log entry vouches for beyond the payload, which
 * the manifest binds. Lines as in the manifest, paths in the order of their bytes, none twice:
 *
 *     bootseal-seals 1
 *     <sha256> boot.ipxe
 *     <sha256> boot.ipxe.sig
 */
export type SealList = ReadonlyMap<string, string>;

/** Bytes: some 300 files. */
export const MAX_SEAL_LIST = 40_960;

const MAGIC = 'bootseal-seals 1';

/**
 * Writes the one canonical form. Throws `Malformed` for a value that has none.
 *
 * @param list lower-case hex SHA-256 by path relative to the release, in any order.
 */
export function encodeSealList(list: SealList): Uint8Array {
  const rows = [...list].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, sha256]) => `${sha256} ${path}`);
  if (rows.some((row) => row.includes('\n'))) throw new Malformed('list of seals', 'a path over two lines');
  const bytes = Buffer.from(`${[MAGIC, ...rows].join('\n')}\n`);
  decodeSealList(bytes);
  return bytes;
}

/** Decodes the canonical form and nothing else. Throws `Malformed`, naming the line. */
export function decodeSealList(bytes: Uint8Array): SealList {
  if (bytes.length > MAX_SEAL_LIST) throw new Malformed('list of seals', `${bytes.length} bytes`);
  const text = Buffer.from(bytes).toString('latin1');
  if (!/^[\n -~]*\n$/.test(text)) throw new Malformed('list of seals', 'not lines of ASCII');
  const lines = new LineReader('list of seals', text.slice(0, -1).split('\n'));
  if (lines.next() !== MAGIC) throw lines.fail(`the first line is not "${MAGIC}"`);
  const list = new Map<string, string>();
  let last = '';
  for (let line = lines.next(); line !== undefined; line = lines.next()) {
    const [, sha256, path] = /^([0-9a-f]{64}) (\S+)$/.exec(line) ?? [];
    if (sha256 === undefined || path === undefined || !isSafePath(path))
      throw lines.fail('no digest and path');
    if (path <= last) throw lines.fail('a path twice or out of order');
    last = path;
    list.set(path, sha256);
  }
  return list;
}
