import { Malformed } from '../../errors/malformed.ts';
import { cpioEntries, decodeCpio, encodeCpio } from '../archive/cpio.ts';
import { isSafePath } from './safe-path.ts';

/**
 * A signing request on its way to the keys and back: a newc cpio, so that `cpio -i` opens it and `cpio -o -H newc`
 * closes it again. An answer is the request with more files in it.
 *
 *     index                        what is asked, see signing-request.ts
 *     records/PATH                 the small files of the release, as they shall be
 *     scripts/PATH                 what loaders run, the same
 *     certificates/KEY.crt         PEM; `openpgp.gpg` and its like are the public keys' packets
 *     digests/0001.KEY             of payload: the digest to sign, its bytes
 *     digests/0001.KEY.sig         an answer: RSASSA-PKCS1-v1_5, or ECDSA as DER
 *     records/PATH.cms.sig         an answer: the whole seal; and so for every other record and script
 *     certificates/leaf.crt        an answer: the release leaf that was issued
 */
export interface RequestBundle {
  /** By name; never a folder. */
  readonly files: ReadonlyMap<string, Uint8Array>;
}

const FORMAT = 'request bundle';
/** Bytes. Images are not in it, however large; a script for each of 50,000 machines may be. */
export const MAX_BUNDLE = 128 * 1024 * 1024;
export const MAX_BUNDLE_ENTRIES = 200_000;

const LOADER = '(-[0-9a-f]{16})?';
const KEY = `(codesign|openpgp|db|pcr|leaf${LOADER})`;
const CERTIFICATE = `(codesign|manifest|db|(ca(\\.[1-7])?|boot|leaf)${LOADER})`;
const NAMES = new RegExp(
  `^(index|certificates/(openpgp(-script|-manifest)?\\.gpg|pcr\\.pub|${CERTIFICATE}\\.crt)|digests/([0-9]{4}|[1-9][0-9]{4})\\.${KEY}(\\.sig)?)$`,
);
const TEXTS = /^(records|scripts)\//;

/** Writes files in the order given; equal files give equal bytes. */
export function encodeBundle(files: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const folders = new Set<string>();
  for (const name of files.keys()) {
    for (let at = name.indexOf('/'); at > 0; at = name.indexOf('/', at + 1)) folders.add(name.slice(0, at));
  }
  const sources = [
    ...[...folders].sort().map((name) => ({ kind: 'directory', name }) as const),
    ...[...files].map(([name, data]) => ({ kind: 'file', name, data }) as const),
  ];
  return encodeCpio(cpioEntries(sources, 0));
}

/**
 * Throws `Malformed`: for a path trick, a name twice, a link or device, a name that no request has, too many
 * entries or bytes, a cut archive.
 */
export function decodeBundle(bytes: Uint8Array): RequestBundle {
  if (bytes.length > MAX_BUNDLE) throw new Malformed(FORMAT, `more than ${MAX_BUNDLE} bytes`);
  const files = new Map<string, Uint8Array>();
  for (const { kind, name: written, data, nlink } of decodeCpio(bytes, {
    maxEntries: MAX_BUNDLE_ENTRIES,
    maxBytes: MAX_BUNDLE,
  })) {
    // What "find . | cpio -o" puts in front.
    const name = written.replace(/^\.\//, '');
    if (kind === 'directory' && (name === '.' || isSafePath(name))) continue;
    // A hard link's content is elsewhere in the archive: there would be two ways to read it.
    if (kind !== 'file' || nlink > 1) throw new Malformed(FORMAT, `${quoted(name)} is no plain file`);
    const known = NAMES.test(name) || (TEXTS.test(name) && isSafePath(name.replace(TEXTS, '')));
    if (!known) throw new Malformed(FORMAT, `${quoted(name)} belongs to no request`);
    if (files.has(name)) throw new Malformed(FORMAT, `${name} is there twice`);
    files.set(name, data);
  }
  return { files };
}

function quoted(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}
