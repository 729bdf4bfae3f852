import { Malformed } from '../../errors/malformed.ts';

/**
 * DER (X.690), the strict subset that certificates and CMS use: definite lengths in their shortest form,
 * identifier bytes of one byte. Nothing here recurses, so a depth bomb costs its reader nothing: each
 * caller opens just the levels its structure has.
 */

export const TAG = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** Identifier byte of a context-specific tag, constructed or primitive. */
export function contextTag(number: number, constructed: boolean): number {
  return 0x80 | (constructed ? 0x20 : 0) | number;
}

/** One TLV. `raw` and `content` are views into the input. */
export interface DerElement {
  readonly tag: number;
  readonly raw: Uint8Array;
  readonly content: Uint8Array;
}

/** Walks the elements of one level. */
export class DerCursor {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #at = 0;

  /** @param what names the structure in errors: `Certificate`, `SignerInfo`. */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  fail(fact: string): Malformed {
    return new Malformed('DER', `${this.#what}: ${fact}`, this.#at);
  }

  /** The identifier byte that comes next, or undefined at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#at];
  }

  /** The next element, which must have `tag` where one is given. Throws `Malformed`. */
  next(tag?: number): DerElement {
    const bytes = this.#bytes;
    const start = this.#at;
    const identifier = bytes[start];
    const first = bytes[start + 1];
    if (identifier === undefined || first === undefined) throw this.fail('ends in mid-element');
    if ((identifier & 0x1f) === 0x1f) throw this.fail('multi-octet tag');
    if (tag !== undefined && identifier !== tag) {
      throw this.fail(`tag 0x${identifier.toString(16)} where 0x${tag.toString(16)} belongs`);
    }
    let length = first;
    let header = 2;
    if (first >= 0x80) {
      const octets = first & 0x7f;
      // 0x80 is BER's indefinite length; more than four bytes cannot fit any input we accept.
      if (octets === 0 || octets > 4) throw this.fail('length not in DER');
      length = 0;
      for (let i = 0; i < octets; i++) {
        const octet = bytes[start + 2 + i];
        if (octet === undefined) throw this.fail('ends in mid-length');
        length = length * 256 + octet;
      }
      header += octets;
      // Two spellings of one length would let two different byte strings mean one certificate.
      if (length < 0x80 || (octets > 1 && length < 256 ** (octets - 1))) {
        throw this.fail('length not in its shortest form');
      }
    }
    const end = start + header + length;
    if (end > bytes.length) throw this.fail(`element of ${length} bytes runs past the end`);
    this.#at = end;
    return {
      tag: identifier,
      raw: bytes.subarray(start, end),
      content: bytes.subarray(start + header, end),
    };
  }

  /** The next element when it has `tag`, else undefined and nothing is consumed. */
  optional(tag: number): DerElement | undefined {
    return this.peek() === tag ? this.next(tag) : undefined;
  }

  /** Opens the next element, which must have `tag`. */
  enter(tag: number, what = this.#what): DerCursor {
    return new DerCursor(this.next(tag).content, what);
  }

  /** Throws unless everything was consumed: trailing bytes are a place to hide things. */
  end(): void {
    if (!this.done) throw this.fail('trailing bytes');
  }
}

/** Opens `bytes` as exactly one element with `tag`, nothing after it. */
export function openDer(bytes: Uint8Array, tag: number, what: string): DerCursor {
  const outer = new DerCursor(bytes, what);
  const inner = outer.enter(tag, what);
  outer.end();
  return inner;
}

/** Content bytes of a non-negative INTEGER in its shortest form, without the sign byte. */
export function unsignedInteger(element: DerElement, what: string): Uint8Array {
  const { content } = element;
  const first = content[0];
  const second = content[1];
  if (first === undefined) throw new Malformed('DER', `${what}: empty INTEGER`);
  if (first & 0x80) throw new Malformed('DER', `${what}: negative INTEGER`);
  if (first === 0 && second !== undefined) {
    if (!(second & 0x80)) throw new Malformed('DER', `${what}: INTEGER not in its shortest form`);
    return content.subarray(1);
  }
  return content;
}

/** Content bytes of any INTEGER in its shortest form, as they are: two's complement. */
export function integerContent({ content }: DerElement, what: string): Uint8Array {
  const [first, second] = content;
  if (first === undefined) throw new Malformed('DER', `${what}: empty INTEGER`);
  const filling = second !== undefined && (first === 0 ? !(second & 0x80) : first === 0xff && second & 0x80);
  if (filling) throw new Malformed('DER', `${what}: INTEGER not in its shortest form`);
  return content;
}

/** A small non-negative INTEGER, below 2³². */
export function smallInteger(element: DerElement, what: string): number {
  const octets = unsignedInteger(element, what);
  if (octets.length > 4) throw new Malformed('DER', `${what}: INTEGER too large`);
  return octets.reduce((value, octet) => value * 256 + octet, 0);
}

/** Bytes of a BIT STRING that has no unused bits. */
export function bitStringOctets(element: DerElement, what: string): Uint8Array {
  if (element.content[0] !== 0) throw new Malformed('DER', `${what}: BIT STRING with unused bits`);
  return element.content.subarray(1);
}

/** Dotted form of an OBJECT IDENTIFIER. */
export function oidText(element: DerElement): string {
  const { content } = element;
  const last = content[content.length - 1];
  if (last === undefined || last & 0x80) throw new Malformed('DER', 'OBJECT IDENTIFIER ends in mid-arc');
  const arcs: number[] = [];
  let arc = 0;
  let fresh = true;
  for (const octet of content) {
    if (fresh && octet === 0x80) throw new Malformed('DER', 'OBJECT IDENTIFIER arc not in its shortest form');
    arc = arc * 128 + (octet & 0x7f);
    if (arc > 0xffffffff) throw new Malformed('DER', 'OBJECT IDENTIFIER arc too large');
    fresh = !(octet & 0x80);
    if (fresh) {
      arcs.push(arc);
      arc = 0;
    }
  }
  const [head = 0, ...rest] = arcs;
  const root = Math.min(2, Math.floor(head / 40));
  return [root, head - root * 40, ...rest].join('.');
}

/** Milliseconds since 1970 of a UTCTime or GeneralizedTime in the form RFC 5280 §4.1.2.5 allows. */
export function derTime(element: DerElement): number {
  const text = Buffer.from(element.content).toString('latin1');
  let year: number;
  let rest: string;
  if (element.tag === TAG.utcTime && /^\d{12}Z$/.test(text)) {
    const two = Number(text.slice(0, 2));
    year = two >= 50 ? 1900 + two : 2000 + two;
    rest = text.slice(2);
  } else if (element.tag === TAG.generalizedTime && /^\d{14}Z$/.test(text)) {
    year = Number(text.slice(0, 4));
    rest = text.slice(4);
  } else {
    throw new Malformed('DER', 'time not as RFC 5280 wants it');
  }
  const [month, day, hour, minute, second] = [0, 2, 4, 6, 8].map((at) => Number(rest.slice(at, at + 2)));
  const time = new Date(0);
  time.setUTCFullYear(year, (month ?? 0) - 1, day ?? 0);
  time.setUTCHours(hour ?? 0, minute ?? 0, second ?? 0);
  // Date rolls 31 February over to March; a time that does not say back what was read was no time.
  const said = time.toISOString().replace(/[-:T]|\.\d+Z$/g, '');
  if (said !== `${String(year).padStart(4, '0')}${rest.slice(0, -1)}`) {
    throw new Malformed('DER', 'no such time');
  }
  return time.getTime();
}

/** Encodes one TLV from its content parts. */
export function der(tag: number, ...parts: Uint8Array[]): Uint8Array {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const octets: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) octets.unshift(rest & 0xff);
  const header = length < 0x80 ? [tag, length] : [tag, 0x80 | octets.length, ...octets];
  return Buffer.concat([Uint8Array.from(header), ...parts]);
}

export function derSequence(...parts: Uint8Array[]): Uint8Array {
  return der(TAG.sequence, ...parts);
}

/** SET OF in DER: members in the order of their encodings (X.690 §11.6). */
export function derSetOf(...members: Uint8Array[]): Uint8Array {
  return der(TAG.set, ...members.toSorted(Buffer.compare));
}

/** INTEGER from unsigned big-endian bytes. */
export function derUnsigned(octets: Uint8Array): Uint8Array {
  let start = 0;
  while (start < octets.length - 1 && octets[start] === 0) start++;
  const trimmed = octets.subarray(start);
  const sign = ((trimmed[0] ?? 0) & 0x80) !== 0 || trimmed.length === 0;
  return der(TAG.integer, Uint8Array.from(sign ? [0] : []), trimmed);
}

export function derOid(text: string): Uint8Array {
  const [root = 0, second = 0, ...rest] = text.split('.').map(Number);
  const octets: number[] = [];
  for (const arc of [root * 40 + second, ...rest]) {
    const groups = [arc & 0x7f];
    for (let left = Math.floor(arc / 128); left > 0; left = Math.floor(left / 128)) {
      groups.unshift((left & 0x7f) | 0x80);
    }
    octets.push(...groups);
  }
  return der(TAG.oid, Uint8Array.from(octets));
}

export function derNull(): Uint8Array {
  return der(TAG.null);
}
