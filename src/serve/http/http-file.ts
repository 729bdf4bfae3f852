import { Malformed } from '../../errors/malformed.ts';
import { type ByterangesFrame, encodeByteranges } from '../../formats/net/byteranges.ts';
import { type Conditions, encodeTag, evaluate, strongTag } from '../../formats/net/etag.ts';
import {
  type ByteRange,
  encodeContentRange,
  parseRange,
  type Resolved,
  rangeLength,
  resolveRange,
} from '../../formats/net/range.ts';
import { contentType } from '../../release/content-type.ts';
import type { Resource } from '../../release/site.ts';
import { HttpAnswer } from './http-answer.ts';

/** One run of bytes of the file, and what the frame puts before it. */
export interface Piece {
  readonly before: Uint8Array | undefined;
  readonly range: ByteRange;
}

/** The answer to a GET or HEAD of a file: a value, decided without reading a byte of it. */
export interface FileAnswer {
  readonly status: 200 | 206 | 304;
  readonly headers: Readonly<Record<string, string>>;
  readonly pieces: readonly Piece[];
  readonly after: Uint8Array | undefined;
  /** Bytes of content. */
  readonly length: number;
  /** Bytes of the file. */
  readonly size: number;
}

const NOTHING = { pieces: [], after: undefined, length: 0, size: 0 } as const;

/**
 * Decides what a GET or HEAD of `resource` is answered with (RFC 9110 §13, §14).
 *
 * Range counts only on GET (RFC 9110 §14.2).
 *
 * @param boundary makes the delimiter of multipart/byteranges; 128 random bits.
 * @throws HttpAnswer 412 where If-Match fails, 416 where the ranges are malformed, hostile or beyond the end.
 */
export function answerFile(
  resource: Resource,
  method: string,
  conditions: Conditions,
  range: string | undefined,
  boundary: () => string,
): FileAnswer {
  const { size } = resource;
  const tag = strongTag(resource.sha256);
  const type = resource.type ?? contentType(resource.name);
  const headers = {
    ETag: encodeTag(tag),
    'Cache-Control': resource.immutable ? 'public, max-age=31536000, immutable' : 'no-cache',
    'Accept-Ranges': 'bytes',
    // An HTML file of a release shares its origin with the dashboard and must not run there.
    'Content-Security-Policy': "default-src 'none'; sandbox",
  };

  const outcome = evaluate(conditions, tag);
  if (outcome === 'failed') {
    throw new HttpAnswer(412, 'The file no longer has the entity tag that was asked for.');
  }
  if (outcome === 'not-modified') return { status: 304, headers, ...NOTHING };

  const wanted: Resolved =
    range === undefined || method !== 'GET' || outcome === 'whole' ? { kind: 'full' } : ranges(range, size);
  switch (wanted.kind) {
    case 'unsatisfiable':
      throw unsatisfiable(size, 'The range begins beyond the end of the file.');
    case 'full': {
      const pieces = size === 0 ? [] : [{ before: undefined, range: { first: 0, last: size - 1 } }];
      const full = { ...headers, 'Content-Type': type, 'Content-Length': String(size) };
      return { status: 200, headers: full, pieces, after: undefined, length: size, size };
    }
    case 'one': {
      const length = rangeLength(wanted.range);
      return {
        status: 206,
        headers: {
          ...headers,
          'Content-Type': type,
          'Content-Length': String(length),
          'Content-Range': encodeContentRange(wanted.range, size),
        },
        pieces: [{ before: undefined, range: wanted.range }],
        after: undefined,
        length,
        size,
      };
    }
    case 'several': {
      const frame: ByterangesFrame = encodeByteranges(wanted.ranges, size, type, boundary());
      return {
        status: 206,
        headers: { ...headers, 'Content-Type': frame.contentType, 'Content-Length': String(frame.length) },
        pieces: wanted.ranges.map((each, index) => ({ before: frame.heads[index], range: each })),
        after: frame.tail,
        length: frame.length,
        size,
      };
    }
  }
}

function ranges(field: string, size: number): Resolved {
  try {
    const specs = parseRange(field);
    return specs === undefined ? { kind: 'full' } : resolveRange(specs, size);
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    throw unsatisfiable(size, 'The Range field is malformed, or asks for too many or overlapping ranges.');
  }
}

function unsatisfiable(size: number, message: string): HttpAnswer {
  return new HttpAnswer(416, message, { 'Content-Range': encodeContentRange(undefined, size) });
}
