import { Malformed } from '../../errors/malformed.ts';
import { isSafePath, isSafeSegment } from './safe-path.ts';

/**
 * What arch-release-promotion says of a release, in a JSON file beside it (`netboot-2026.11.01.json`). Only what somebody
 * can hold against the release is read; the rest (metrics, a torrent, who promoted it by which key) is for web pages.
 */
export interface Promotion {
  /** The kind of release: `netboot`. */
  readonly name: string;
  readonly version: string;
  /** What lies in its folder: names of files, or of folders at its top. */
  readonly files: readonly string[];
}

/** Bytes. */
export const MAX_PROMOTION = 256 * 1024;

const FORMAT = 'promotion';
const MOST_FILES = 1000;

/** @throws Malformed */
export function decodePromotion(bytes: Uint8Array): Promotion {
  if (bytes.length > MAX_PROMOTION) throw new Malformed(FORMAT, `more than ${MAX_PROMOTION} bytes`);
  const { name, version, files } = objectOf(bytes);
  const isName = (text: unknown) => typeof text === 'string' && text.length <= 64 && isSafeSegment(text);
  if (!isName(name)) throw new Malformed(FORMAT, 'no name');
  if (!isName(version)) throw new Malformed(FORMAT, 'no version');
  if (!Array.isArray(files) || files.length > MOST_FILES) throw new Malformed(FORMAT, 'no list of files');
  for (const file of files)
    if (typeof file !== 'string' || !isSafePath(file))
      throw new Malformed(FORMAT, 'a file with an unsafe name');
  if (new Set(files).size !== files.length) throw new Malformed(FORMAT, 'a file twice');
  return { name: name as string, version: version as string, files: files as string[] };
}

function objectOf(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw new Malformed(FORMAT, 'no JSON');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Malformed(FORMAT, 'no object');
  return value as Record<string, unknown>;
}
