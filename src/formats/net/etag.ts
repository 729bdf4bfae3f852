import { Malformed } from '../../errors/malformed.ts';

/**
 * Entity tags and the conditions built on them (RFC 9110 §8.8.3, §13.1).
 *
 * Ours are always strong: the tag is the digest of the bytes.
 */
export interface EntityTag {
  readonly weak: boolean;
  /** Without the quotes. */
  readonly opaque: string;
}

/** Longest list of tags that is read, and the longest field in bytes. */
const MAX_TAGS = 64;
const MAX_FIELD = 8192;

const TAG = /(W\/)?"([\x21\x23-\x7e\x80-\xff]*)"/y;

/** The strong tag of bytes with this digest. */
export function strongTag(sha256: string): EntityTag {
  return { weak: false, opaque: sha256 };
}

/** `"abc"` or `W/"abc"`. */
export function encodeTag(tag: EntityTag): string {
  return `${tag.weak ? 'W/' : ''}"${tag.opaque}"`;
}

/** Reads one entity tag and nothing else. @throws Malformed */
export function parseTag(field: string): EntityTag {
  const tags = parseTags(field);
  const [tag] = tags === '*' ? [] : tags;
  if (tag === undefined || tags.length !== 1 || encodeTag(tag) !== field) {
    throw new Malformed('entity tag', 'not one entity tag');
  }
  return tag;
}

/** Reads `*` or a list of 1 to 64 entity tags (If-Match, If-None-Match). @throws Malformed */
export function parseTags(field: string): '*' | readonly EntityTag[] {
  if (field.length > MAX_FIELD) throw new Malformed('entity tag', `a list longer than ${MAX_FIELD} bytes`);
  if (field.trim() === '*') return '*';
  const tags: EntityTag[] = [];
  let at = 0;
  let separated = true;
  while (at < field.length) {
    const char = field[at];
    if (char === ' ' || char === '\t') {
      at += 1;
    } else if (char === ',') {
      separated = true;
      at += 1;
    } else {
      TAG.lastIndex = at;
      const match = TAG.exec(field);
      if (match === null || !separated) throw new Malformed('entity tag', 'not a list of entity tags', at);
      if (tags.length === MAX_TAGS) throw new Malformed('entity tag', `more than ${MAX_TAGS} tags`, at);
      tags.push({ weak: match[1] !== undefined, opaque: match[2] ?? '' });
      separated = false;
      at = TAG.lastIndex;
    }
  }
  if (tags.length === 0) throw new Malformed('entity tag', 'an empty list');
  return tags;
}

/** Strong comparison (RFC 9110 §8.8.3.2): equal, and neither is weak. */
export function strongMatch(a: EntityTag, b: EntityTag): boolean {
  return !a.weak && !b.weak && a.opaque === b.opaque;
}

/** Weak comparison (RFC 9110 §8.8.3.2): equal, weak or not. */
export function weakMatch(a: EntityTag, b: EntityTag): boolean {
  return a.opaque === b.opaque;
}

/** The conditional fields of a request, as received. */
export interface Conditions {
  readonly ifMatch: string | undefined;
  readonly ifNoneMatch: string | undefined;
  readonly ifRange: string | undefined;
}

/**
 * What the conditions of a GET or HEAD ask for, in the order of RFC 9110 §13.2.2.
 *
 * - `failed`: 412. A malformed If-Match counts as not matching.
 * - `not-modified`: 304. A malformed If-None-Match counts as not matching either: the bytes are sent.
 * - `whole`: send everything and ignore Range, because If-Range names other bytes. A date never matches:
 *   there is no Last-Modified, and a clock is no proof of content.
 * - `as-asked`: send what Range asks for, or everything.
 */
export type Outcome = 'failed' | 'not-modified' | 'whole' | 'as-asked';

/** Evaluates conditions against the tag of an existing representation. Never throws. */
export function evaluate(conditions: Conditions, current: EntityTag): Outcome {
  const { ifMatch, ifNoneMatch, ifRange } = conditions;
  if (ifMatch !== undefined && !anyTag(ifMatch, current, strongMatch)) return 'failed';
  if (ifNoneMatch !== undefined && anyTag(ifNoneMatch, current, weakMatch)) return 'not-modified';
  if (ifRange !== undefined && !rangeHolds(ifRange, current)) return 'whole';
  return 'as-asked';
}

function anyTag(field: string, current: EntityTag, match: (a: EntityTag, b: EntityTag) => boolean): boolean {
  const tags = orUndefined(() => parseTags(field));
  if (tags === undefined) return false;
  return tags === '*' || tags.some((tag) => match(tag, current));
}

function rangeHolds(field: string, current: EntityTag): boolean {
  const tag = orUndefined(() => parseTag(field));
  return tag !== undefined && strongMatch(tag, current);
}

function orUndefined<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}
