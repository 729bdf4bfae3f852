import { Malformed } from '../../errors/malformed.ts';
import { type ByteRange, encodeContentRange, MAX_RANGES, parseContentRange, rangeLength } from './range.ts';

/**
 * The frame of multipart/byteranges (RFC 9110 §14.6; delimiters as in RFC 2046 §5.1.1): what stands before
 * each part, what stands after the last, and how long all of it is, so that a Content-Length can be sent
 * before a single byte is read.
 */
export interface ByterangesFrame {
  /** Value of the Content-Type field. */
  readonly contentType: string;
  /** One for each range: delimiter, part headers, blank line. */
  readonly heads: readonly Uint8Array[];
  /** The closing delimiter. */
  readonly tail: Uint8Array;
  /** Bytes of the whole body, the ranges included. */
  readonly length: number;
}

/** Longest part header block that `decodeByteranges` reads, bytes. */
const MAX_PART_HEAD = 1024;

/**
 * Frames `ranges` of a representation of `size` bytes and media type `type`.
 *
 * `boundary` must not occur in the bytes; take 128 random bits, since whoever can predict it and has a
 * hand in the file could forge a part.
 */
export function encodeByteranges(
  ranges: readonly ByteRange[],
  size: number,
  type: string,
  boundary: string,
): ByterangesFrame {
  const encoder = new TextEncoder();
  const heads = ranges.map((range) =>
    encoder.encode(
      `\r\n--${boundary}\r\nContent-Type: ${type}\r\nContent-Range: ${encodeContentRange(range, size)}\r\n\r\n`,
    ),
  );
  const tail = encoder.encode(`\r\n--${boundary}--\r\n`);
  let length = tail.length;
  for (const head of heads) length += head.length;
  for (const range of ranges) length += rangeLength(range);
  return { contentType: `multipart/byteranges; boundary=${boundary}`, heads, tail, length };
}

/** One part of a multipart/byteranges body. */
export interface BytePart {
  readonly type: string;
  readonly range: ByteRange;
  /** Bytes of the whole representation, where the part says so. */
  readonly size: number | undefined;
  readonly data: Uint8Array;
}

/** The boundary in a Content-Type field. @throws Malformed where it is not multipart/byteranges. */
export function byterangesBoundary(contentType: string): string {
  const match =
    /^multipart\/byteranges;[ \t]*boundary=(?:"([^"\r\n]{1,70})"|([0-9A-Za-z'+_.-]{1,70}))$/i.exec(
      contentType,
    );
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) throw new Malformed('multipart/byteranges', 'no boundary');
  return boundary;
}

/**
 * Takes a whole multipart/byteranges body apart. A part's length comes from its Content-Range, never from a
 * search for the delimiter, so bytes that look like a delimiter cannot end a part early.
 *
 * @throws Malformed on anything but parts, each with exactly Content-Type and Content-Range, and the end.
 */
export function decodeByteranges(body: Uint8Array, boundary: string): readonly BytePart[] {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const delimiter = `--${boundary}`;
  const parts: BytePart[] = [];
  // The line break before the first delimiter is optional: it belongs to a preamble that may be absent.
  let at = bytes.subarray(0, 2).toString('latin1') === '\r\n' ? 2 : 0;
  for (;;) {
    at = expect(bytes, at, delimiter);
    if (bytes.subarray(at, at + 2).toString('latin1') === '--') {
      at = expect(bytes, at, '--');
      if (at !== bytes.length) expectEnd(bytes, at);
      if (parts.length === 0) throw new Malformed('multipart/byteranges', 'no parts', at);
      return parts;
    }
    if (parts.length === MAX_RANGES) throw new Malformed('multipart/byteranges', 'too many parts', at);
    at = expect(bytes, at, '\r\n');
    const end = bytes.subarray(at, at + MAX_PART_HEAD).indexOf('\r\n\r\n');
    if (end === -1) throw new Malformed('multipart/byteranges', 'no end of the part headers', at);
    const { type, range, size } = partHead(bytes.subarray(at, at + end).toString('latin1'), at);
    at += end + 4;
    const next = at + rangeLength(range);
    if (next > bytes.length) throw new Malformed('multipart/byteranges', 'a part that is cut short', at);
    parts.push({ type, range, size, data: bytes.subarray(at, next) });
    at = expect(bytes, next, '\r\n');
  }
}

function partHead(text: string, at: number): { type: string; range: ByteRange; size: number | undefined } {
  const fields = new Map<string, string>();
  for (const line of text.split('\r\n')) {
    const match = /^([A-Za-z-]+):[ \t]*([\x20-\x7e]*?)[ \t]*$/.exec(line);
    const name = match?.[1]?.toLowerCase();
    const value = match?.[2];
    if (name === undefined || value === undefined || fields.has(name)) {
      throw new Malformed('multipart/byteranges', 'a part header that is not one', at);
    }
    fields.set(name, value);
  }
  const type = fields.get('content-type');
  const { range, size } = parseContentRange(fields.get('content-range') ?? '');
  if (type === undefined || range === undefined || fields.size !== 2) {
    throw new Malformed('multipart/byteranges', 'a part without its type and range', at);
  }
  return { type, range, size };
}

function expect(bytes: Buffer, at: number, text: string): number {
  const end = at + text.length;
  if (bytes.subarray(at, end).toString('latin1') !== text) {
    throw new Malformed('multipart/byteranges', 'no delimiter where one must be', at);
  }
  return end;
}

function expectEnd(bytes: Buffer, at: number): void {
  if (expect(bytes, at, '\r\n') !== bytes.length) {
    throw new Malformed('multipart/byteranges', 'bytes after the end', at);
  }
}
