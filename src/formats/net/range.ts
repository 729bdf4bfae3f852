import { Malformed } from '../../errors/malformed.ts';

/**
 * HTTP ranges: the Range and Content-Range fields and the frame of multipart/byteranges (RFC 9110 §14).
 *
 * A hostile Range is the cheapest amplifier HTTP has (CVE-2011-3192 was 1300 overlapping ranges in one
 * request). RFC 9110 §14.2 lets a server ignore or reject a set that is invalid, has more than two
 * overlapping ranges, or has many small ones. Here such a set is `Malformed`, and the server rejects it
 * (416) where it could ignore it (200): ignoring would answer a broken 40-octet header with the whole root
 * image, and a client that does not look at the status would write those bytes at the wrong place.
 * Only a range *unit* that is not `bytes` is ignored, because there the RFC leaves no choice.
 */

/** Most ranges in one request, empty list elements included. */
export const MAX_RANGES = 16;

/** Longest Range field, bytes: sixteen ranges of two 20-digit numbers fit. */
const MAX_FIELD = 1024;

/** `first-last`, `first-` (no `last`), or the last `suffix` bytes. */
export type RangeSpec =
  | { readonly first: number; readonly last: number | undefined }
  | { readonly suffix: number };

/** First and last byte, inclusive. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

/** What a Range means for a representation of a known size. */
export type Resolved =
  | { readonly kind: 'full' }
  | { readonly kind: 'one'; readonly range: ByteRange }
  | { readonly kind: 'several'; readonly ranges: readonly ByteRange[] }
  | { readonly kind: 'unsatisfiable' };

/** The number of bytes in a range. */
export function rangeLength(range: ByteRange): number {
  return range.last - range.first + 1;
}

/**
 * Reads a Range field (RFC 9110 §14.1.1, §14.2).
 *
 * @returns the ranges in the order given, or undefined where the unit is not `bytes` and the field must be
 *   ignored.
 * @throws Malformed for anything that is not a list of 1 to 16 ranges with `first <= last`.
 */
export function parseRange(field: string): readonly RangeSpec[] | undefined {
  if (field.length > MAX_FIELD) throw new Malformed('HTTP Range', `longer than ${MAX_FIELD} bytes`);
  const equals = field.indexOf('=');
  const unit = equals === -1 ? '' : field.slice(0, equals);
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(unit)) throw new Malformed('HTTP Range', 'no range unit');
  if (unit.toLowerCase() !== 'bytes') return undefined;

  const elements = field.slice(equals + 1).split(',');
  if (elements.length > MAX_RANGES) throw new Malformed('HTTP Range', `more than ${MAX_RANGES} ranges`);
  const specs: RangeSpec[] = [];
  for (const element of elements) {
    const text = element.replace(/^[ \t]+|[ \t]+$/g, '');
    // RFC 9110 §5.6.1.2: a recipient parses and ignores a reasonable number of empty list elements.
    if (text !== '') specs.push(parseSpec(text));
  }
  if (specs.length === 0) throw new Malformed('HTTP Range', 'an empty list of ranges');
  return specs;
}

function parseSpec(text: string): RangeSpec {
  const match = /^([0-9]{0,20})-([0-9]{0,20})$/.exec(text);
  const [, head = '', tail = ''] = match ?? [];
  if (match === null || (head === '' && tail === '')) throw new Malformed('HTTP Range', 'not a range');
  if (head === '') return { suffix: clamped(tail) };
  const first = clamped(head);
  if (tail === '') return { first, last: undefined };
  const last = clamped(tail);
  if (last < first) throw new Malformed('HTTP Range', 'a range that ends before it begins');
  return { first, last };
}

/** Clients write 2^64-1 for "to the end"; no representation is larger than a safe integer. */
function clamped(digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER);
}

/** Writes a Range field, the inverse of `parseRange`. */
export function encodeRange(specs: readonly RangeSpec[]): string {
  const texts = specs.map((spec) =>
    'suffix' in spec ? `-${spec.suffix}` : `${spec.first}-${spec.last ?? ''}`,
  );
  return `bytes=${texts.join(',')}`;
}

/**
 * Holds ranges against a representation of `size` bytes (RFC 9110 §14.1.2). Ranges keep the order of the
 * request; those beyond the end are left out.
 *
 * @throws Malformed when more than two of the ranges overlap (RFC 9110 §14.2, §17.15).
 */
export function resolveRange(specs: readonly RangeSpec[], size: number): Resolved {
  const ranges: ByteRange[] = [];
  for (const spec of specs) {
    if ('suffix' in spec) {
      if (spec.suffix === 0) continue;
      // A suffix of an empty representation is satisfiable, but no Content-Range can say so.
      if (size === 0) return { kind: 'full' };
      ranges.push({ first: Math.max(0, size - spec.suffix), last: size - 1 });
    } else if (spec.first < size) {
      ranges.push({ first: spec.first, last: Math.min(spec.last ?? size - 1, size - 1) });
    }
  }
  const overlapping = ranges.filter((a) =>
    ranges.some((b) => a !== b && a.first <= b.last && b.first <= a.last),
  );
  if (overlapping.length > 2) throw new Malformed('HTTP Range', 'more than two overlapping ranges');

  const [only] = ranges;
  if (only === undefined) return { kind: 'unsatisfiable' };
  return ranges.length === 1 ? { kind: 'one', range: only } : { kind: 'several', ranges };
}

/** Content-Range of a 206 (`bytes 0-0/9`) or, without a range, of a 416 (`*` for the range) (RFC 9110 §14.4). */
export function encodeContentRange(range: ByteRange | undefined, size: number): string {
  return range === undefined ? `bytes */${size}` : `bytes ${range.first}-${range.last}/${size}`;
}

/** What a Content-Range says; `size` is undefined for `*`, `range` for an unsatisfied one. */
export interface ContentRange {
  readonly range: ByteRange | undefined;
  readonly size: number | undefined;
}

/**
 * Reads a Content-Range field (RFC 9110 §14.4).
 *
 * @throws Malformed also where the range does not fit the size: a client that believed it would place the
 *   bytes wrongly.
 */
export function parseContentRange(field: string): ContentRange {
  const match = /^bytes (?:([0-9]{1,15})-([0-9]{1,15})|\*)\/([0-9]{1,15}|\*)$/i.exec(field);
  if (match === null) throw new Malformed('HTTP Content-Range', 'not a byte content range');
  const [, first, last, total] = match;
  const size = total === '*' ? undefined : Number(total);
  if (first === undefined) {
    if (size === undefined) throw new Malformed('HTTP Content-Range', 'neither a range nor a size');
    return { range: undefined, size };
  }
  const range = { first: Number(first), last: Number(last) };
  if (range.last < range.first || (size !== undefined && range.last >= size)) {
    throw new Malformed('HTTP Content-Range', 'a range that does not fit its size');
  }
  return { range, size };
}
