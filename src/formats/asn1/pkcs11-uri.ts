import { Malformed } from '../../errors/malformed.ts';

/** PKCS#11 URIs (RFC 7512): which key, on which token. */

/** Attributes that name something and hold no secret, in the order in which we write them. */
const PATH_ATTRIBUTES = [
  'token',
  'manufacturer',
  'serial',
  'model',
  'library-manufacturer',
  'library-version',
  'library-description',
  'slot-manufacturer',
  'slot-description',
  'slot-id',
  'object',
  'id',
  'type',
] as const;
const QUERY_ATTRIBUTES = ['pin-source', 'pin-value', 'module-name', 'module-path'] as const;
const TYPES = ['public', 'private', 'cert', 'secret-key', 'data'];

type PathAttribute = (typeof PATH_ATTRIBUTES)[number];
export type Pkcs11QueryAttribute = (typeof QUERY_ATTRIBUTES)[number];

export interface Pkcs11Uri {
  /** Decoded bytes; text is UTF-8 without control characters. */
  readonly path: ReadonlyMap<PathAttribute, Uint8Array>;
  /** As `path`. May hold a PIN: never to be shown. */
  readonly query: ReadonlyMap<Pkcs11QueryAttribute, Uint8Array>;
}

const MAX_URI = 2048;
/** RFC 7512 §2.3: `pk11-pchar` and `pk11-qchar`, without what is percent-encoded. */
const PATH_VALUE = /^(?:[A-Za-z0-9._~:[\]@!$'()*+,=&-]|%[0-9A-Fa-f]{2})*$/;
const QUERY_VALUE = /^(?:[A-Za-z0-9._~:[\]@!$'()*+,=/?|-]|%[0-9A-Fa-f]{2})*$/;

/**
 * Decodes a PKCS#11 URI. Vendors' attributes are unknown here, and refused as whatever else is unknown: what
 * is skipped might be what tells two keys apart.
 *
 * @throws Malformed which never quotes a value: it may be a PIN.
 */
export function decodePkcs11Uri(text: string): Pkcs11Uri {
  if (text.length > MAX_URI) throw malformed(`a URI of ${text.length} characters`);
  if (!/^pkcs11:/i.test(text)) throw malformed('does not begin with "pkcs11:"');
  const rest = text.slice('pkcs11:'.length);
  const mark = rest.indexOf('?');
  const path = mark < 0 ? rest : rest.slice(0, mark);
  const uri = {
    path: attributes(path.split(';'), PATH_ATTRIBUTES, PATH_VALUE),
    query: attributes(mark < 0 ? [''] : rest.slice(mark + 1).split('&'), QUERY_ATTRIBUTES, QUERY_VALUE),
  };
  const ascii = (name: PathAttribute) => Buffer.from(uri.path.get(name) ?? []).toString('latin1');
  if (uri.path.has('type') && !TYPES.includes(ascii('type'))) throw malformed('an unknown type');
  if (uri.path.has('slot-id') && !/^[0-9]{1,10}$/.test(ascii('slot-id'))) {
    throw malformed('slot-id is no number');
  }
  if (uri.path.has('library-version') && !/^[0-9]{1,3}(\.[0-9]{1,3})?$/.test(ascii('library-version'))) {
    throw malformed('library-version is no version');
  }
  return uri;
}

/**
 * The URI without its query: what may be shown, logged and handed to programs. One order, one spelling: every
 * byte outside RFC 3986's unreserved characters is percent-encoded, since readers differ over the others
 * (libp11 takes `&` for the end of a value).
 */
export function encodePkcs11Path(path: Pkcs11Uri['path']): string {
  const parts = PATH_ATTRIBUTES.flatMap((name) => {
    const value = path.get(name);
    return value === undefined ? [] : [`${name}=${percentEncoded(value, name === 'id')}`];
  });
  return `pkcs11:${parts.join(';')}`;
}

function attributes<Name extends string>(
  fields: readonly string[],
  names: readonly Name[],
  allowed: RegExp,
): Map<Name, Uint8Array> {
  const found = new Map<Name, Uint8Array>();
  if (fields.length === 1 && fields[0] === '') return found;
  for (const field of fields) {
    const equals = field.indexOf('=');
    const key = field.slice(0, Math.max(0, equals));
    const name = names.find((known) => known === key);
    if (name === undefined) {
      // What stands where a name belongs may be the second half of a PIN that held a separator.
      throw malformed(`an attribute that is none of ${names.join(', ')}`);
    }
    if (found.has(name)) throw malformed(`${name} twice`);
    const value = field.slice(equals + 1);
    if (!allowed.test(value)) throw malformed(`${name} holds a character that must be percent-encoded`);
    const octets = Buffer.from(
      value.replaceAll(/%(..)/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
      'latin1',
    );
    if (name !== 'id') demandText(name, octets);
    if (octets.length === 0 && name === 'id') throw malformed('id is empty');
    found.set(name, octets);
  }
  return found;
}

/** A NUL would end the value early in every reader written in C. */
function demandText(name: string, octets: Uint8Array): void {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(octets);
  } catch {
    throw malformed(`${name} is not UTF-8`);
  }
  if (/[\x00-\x1f\x7f-\x9f]/.test(text)) throw malformed(`${name} holds a control character`);
}

/** @param all also what needs no encoding: RFC 7512 §2.3 wants it so of `id`. */
function percentEncoded(octets: Uint8Array, all: boolean): string {
  return [...octets]
    .map((octet) => {
      const character = String.fromCharCode(octet);
      if (!all && /[A-Za-z0-9._~-]/.test(character)) return character;
      return `%${octet.toString(16).toUpperCase().padStart(2, '0')}`;
    })
    .join('');
}

function malformed(fact: string): Malformed {
  return new Malformed('PKCS#11 URI', fact);
}
