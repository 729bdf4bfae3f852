import { type DerElement, oidText, openDer, TAG } from './der.ts';

/** Names of certificates as text. Nothing is compared by it: two names are one where their bytes are. */

/** RFC 4514 §3, and two more that certificates in the field have; OpenSSL calls them so too. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ['2.5.4.3', 'CN'],
  ['2.5.4.5', 'serialNumber'],
  ['2.5.4.6', 'C'],
  ['2.5.4.7', 'L'],
  ['2.5.4.8', 'ST'],
  ['2.5.4.10', 'O'],
  ['2.5.4.11', 'OU'],
  ['0.9.2342.19200300.100.1.1', 'UID'],
  ['0.9.2342.19200300.100.1.25', 'DC'],
  ['1.2.840.113549.1.9.1', 'emailAddress'],
]);

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * A Name (RFC 5280 §4.1.2.4) as RFC 4514 writes it, the last part first: `CN=boot.lab,O=School`. Types and
 * strings that are unknown stand as hexadecimal, control characters as `\1B`. Throws `Malformed`.
 */
export function nameText(name: Uint8Array): string {
  const parts = openDer(name, TAG.sequence, 'Name');
  const texts: string[] = [];
  while (!parts.done) {
    const set = parts.enter(TAG.set, 'RelativeDistinguishedName');
    const attributes: string[] = [];
    while (!set.done) {
      const attribute = set.enter(TAG.sequence, 'AttributeTypeAndValue');
      const oid = oidText(attribute.next(TAG.oid));
      const value = attribute.next();
      attribute.end();
      const type = TYPES.get(oid);
      const text = type === undefined ? undefined : stringOf(value);
      attributes.push(`${type ?? oid}=${text === undefined ? `#${hex(value.raw)}` : escaped(text)}`);
    }
    if (attributes.length === 0) throw set.fail('no attribute');
    texts.unshift(attributes.join('+'));
  }
  return texts.join(',');
}

/** Strings whose kind OpenSSL does not look at when it compares names (`x_name.c`, ASN1_MASK_CANON), and their text. */
const ALIKE: Readonly<Record<number, (octets: Buffer) => string>> = {
  [TAG.utf8String]: (octets) => utf8.decode(octets),
  [TAG.printableString]: (octets) => octets.toString('latin1'),
  [TAG.ia5String]: (octets) => octets.toString('latin1'),
  // T61String, which everybody reads as Latin-1, and VisibleString.
  20: (octets) => octets.toString('latin1'),
  26: (octets) => octets.toString('latin1'),
  // BMPString: UTF-16, big-endian.
  30: (octets) => Buffer.from(octets).swap16().toString('utf16le'),
};

/**
 * A Name in a form in which two are equal where OpenSSL takes them for one: whatever kind of string it is written in,
 * in capitals or not, and with how many blanks (RFC 5280 §7.1, as `x509_name_canon` does it). iPXE compares bytes.
 *
 * @throws Malformed
 */
export function canonicalName(name: Uint8Array): string {
  const parts = openDer(name, TAG.sequence, 'Name');
  const sets: string[][] = [];
  while (!parts.done) {
    const set = parts.enter(TAG.set, 'RelativeDistinguishedName');
    const attributes: string[] = [];
    while (!set.done) {
      const attribute = set.enter(TAG.sequence, 'AttributeTypeAndValue');
      const oid = oidText(attribute.next(TAG.oid));
      const value = attribute.next();
      attribute.end();
      attributes.push(`${oid} ${canonicalValue(value)}`);
    }
    sets.push(attributes.sort());
  }
  return JSON.stringify(sets);
}

function canonicalValue({ tag, content, raw }: DerElement): string {
  try {
    const text = ALIKE[tag]?.(Buffer.from(content));
    if (text === undefined) return `#${hex(raw)}`;
    const blanks = /[\t\n\v\f\r ]+/g;
    return `=${text
      .replace(blanks, ' ')
      .replace(/^ | $/g, '')
      .replace(/[A-Z]/g, (letter) => letter.toLowerCase())}`;
  } catch {
    // What is no string of its kind is like nothing but itself.
    return `#${hex(raw)}`;
  }
}

function stringOf({ tag, content }: DerElement): string | undefined {
  if (tag !== TAG.utf8String && tag !== TAG.printableString && tag !== TAG.ia5String) return undefined;
  try {
    return utf8.decode(content);
  } catch {
    return undefined;
  }
}

/** RFC 4514 §2.4. */
function escaped(text: string): string {
  return text
    .replace(/[,+"\\<>;]|^[ #]| $/g, '\\$&')
    .replace(/[\x00-\x1f\x7f]/g, (control) => `\\${hex(Buffer.from(control))}`);
}

function hex(octets: Uint8Array): string {
  return Buffer.from(octets).toString('hex').toUpperCase();
}
