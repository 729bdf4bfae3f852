import { Malformed } from '../../errors/malformed.ts';
import { der, TAG } from './der.ts';

/**
 * BER (X.690 §8) as streaming writers make it: lengths that are not known beforehand, lengths in more bytes than
 * they need, strings in pieces. Only for emulating clients that read it; what is ours is DER.
 */

/** Of CMS with certificates inside, whose names nest deepest. */
const MAX_DEPTH = 32;
const CONSTRUCTED = 0x20;

interface Element {
  readonly tag: number;
  /** Rewritten, where it is constructed. */
  readonly content: Uint8Array;
  /** Where the next element begins. */
  readonly end: number;
}

/**
 * The first element of `bytes`, with every length definite and in its shortest form and every octet string in one
 * piece. What follows it is not looked at, as `openssl cms` does not. The order of sets stays as it was.
 *
 * @throws Malformed
 */
export function definiteForm(bytes: Uint8Array): Uint8Array {
  const { tag, content } = read(bytes, 0, 0);
  return der(tag, content);
}

function read(bytes: Uint8Array, start: number, depth: number): Element {
  const fail = (fact: string): Malformed => new Malformed('BER', fact, start);
  if (depth === MAX_DEPTH) throw fail(`nested deeper than ${MAX_DEPTH}`);
  const [tag, first] = [bytes[start], bytes[start + 1]];
  if (tag === undefined || first === undefined) throw fail('ends in mid-element');
  if ((tag & 0x1f) === 0x1f) throw fail('multi-octet tag');
  if (first === 0x80) {
    if (!(tag & CONSTRUCTED)) throw fail('a primitive element without a length');
    const { children, end } = readChildren(bytes, start + 2, undefined, depth);
    return { ...joined(tag, children), end };
  }
  let [length, at] = [first, start + 2];
  if (first > 0x80) {
    length = 0;
    for (const last = at + (first & 0x7f); at < last; at++) {
      const octet = bytes[at];
      if (octet === undefined) throw fail('ends in mid-length');
      length = length * 256 + octet;
      if (length > bytes.length) throw fail('runs past the end');
    }
  }
  const end = at + length;
  if (end > bytes.length) throw fail('runs past the end');
  if (!(tag & CONSTRUCTED)) return { tag, content: bytes.subarray(at, end), end };
  return { ...joined(tag, readChildren(bytes, at, end, depth).children), end };
}

/** @param end undefined: two zero bytes end them. */
function readChildren(bytes: Uint8Array, start: number, end: number | undefined, depth: number) {
  const children: Element[] = [];
  let at = start;
  for (;;) {
    if (end === undefined && bytes[at] === 0 && bytes[at + 1] === 0) return { children, end: at + 2 };
    if (at === end) return { children, end };
    const child = read(end === undefined ? bytes : bytes.subarray(0, end), at, depth + 1);
    children.push(child);
    at = child.end;
  }
}

function joined(tag: number, children: readonly Element[]): Pick<Element, 'tag' | 'content'> {
  if (tag === (TAG.octetString | CONSTRUCTED)) {
    const stray = children.find((child) => child.tag !== TAG.octetString);
    if (stray) throw new Malformed('BER', 'an octet string made of something else');
    return { tag: TAG.octetString, content: Buffer.concat(children.map(({ content }) => content)) };
  }
  return { tag, content: Buffer.concat(children.map((child) => der(child.tag, child.content))) };
}
