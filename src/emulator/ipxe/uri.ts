import { strtoul } from '../../formats/script/ipxe-settings.ts';

/**
 * URIs as iPXE reads, resolves and writes them. Source: iPXE `src/core/uri.c`, `src/core/basename.c`. Not
 * RFC 3986 and not WHATWG: `..` is understood only at the start of a relative path, and a port may be written
 * in hexadecimal.
 */
export interface Uri {
  readonly scheme?: string;
  readonly opaque?: string;
  readonly user?: string;
  readonly password?: string;
  readonly host?: string;
  readonly port?: string;
  /** Still percent-encoded. */
  readonly path?: string;
  readonly query?: string;
  readonly fragment?: string;
  /** Name of a parameter list (`##params=NAME`), the empty string for the default one. */
  readonly params?: string;
}

type Mutable = { -readonly [Key in keyof Uri]: Uri[Key] };

/** Reads a URI. Every string is one. */
export function parseUri(text: string): Uri {
  const uri: Mutable = {};
  let rest = text;
  const params = rest.indexOf('##params');
  if (params >= 0) {
    const after = rest.slice(params + 8);
    uri.params = after.startsWith('=') ? after.slice(1) : '';
    rest = rest.slice(0, params);
  }
  const fragment = rest.indexOf('#');
  if (fragment >= 0) {
    uri.fragment = rest.slice(fragment + 1);
    rest = rest.slice(0, fragment);
  }
  const scheme = /^([A-Za-z_-]*):/.exec(rest);
  if (scheme !== null) {
    uri.scheme = scheme[1] ?? '';
    rest = rest.slice(scheme[0].length);
    if (!rest.startsWith('/')) {
      uri.opaque = decode(rest);
      return uri;
    }
  }
  const query = rest.indexOf('?');
  if (query >= 0) {
    uri.query = rest.slice(query + 1);
    rest = rest.slice(0, query);
  }
  if (rest === '') return uri;
  if (uri.scheme === undefined || !rest.startsWith('//')) {
    uri.path = rest;
    return uri;
  }
  const slash = rest.indexOf('/', 2);
  if (slash >= 0) uri.path = rest.slice(slash);
  let authority = rest.slice(2, slash < 0 ? undefined : slash);
  const at = authority.indexOf('@');
  if (at >= 0) {
    const user = authority.slice(0, at);
    const colon = user.indexOf(':');
    uri.user = decode(colon < 0 ? user : user.slice(0, colon));
    if (colon >= 0) uri.password = decode(user.slice(colon + 1));
    authority = authority.slice(at + 1);
  }
  const colon = authority.lastIndexOf(':');
  if (colon >= 0 && !authority.endsWith(']')) {
    uri.port = decode(authority.slice(colon + 1));
    authority = authority.slice(0, colon);
  }
  uri.host = decode(authority);
  return uri;
}

/** Writes a URI. */
export function formatUri(uri: Uri): string {
  let text = '';
  if (uri.scheme !== undefined) {
    text += `${encode(uri.scheme, '/#:@?=&+')}:${uri.host === undefined ? '' : '//'}`;
  }
  if (uri.opaque !== undefined) text += encode(uri.opaque, '#');
  if (uri.user !== undefined) text += encode(uri.user, '/#:@?');
  if (uri.password !== undefined) text += `:${encode(uri.password, '/#:@?')}`;
  if (uri.host !== undefined) text += (uri.user === undefined ? '' : '@') + encode(uri.host, '/#@?');
  if (uri.port !== undefined) text += `:${encode(uri.port, '/#:@?')}`;
  if (uri.path !== undefined) text += encode(uri.path);
  if (uri.query !== undefined) text += `?${encode(uri.query)}`;
  if (uri.fragment !== undefined) text += `#${encode(uri.fragment)}`;
  return text;
}

/** What iPXE prints while it downloads: no credentials, no query. */
export function redactedUri(uri: Uri): string {
  const { user: _user, password: _password, query: _query, fragment: _fragment, ...rest } = uri;
  return formatUri(rest);
}

/**
 * The same resource for a client that is not iPXE: no fragment, and the port in decimal, since iPXE takes
 * `0x1f90` (what `${port:uint16}` expands to) for 8080.
 */
export function portableUrl(uri: Uri): string {
  const { fragment: _fragment, port, ...rest } = uri;
  if (port === undefined) return formatUri(rest);
  // A port of TCP or UDP has 16 bits: higher ones are lost.
  return formatUri({ ...rest, port: String(strtoul(port).value & 0xffff) });
}

/** Resolves against the working URI, if there is one. */
export function resolveUri(base: Uri | undefined, relative: Uri): Uri {
  if (relative.scheme !== undefined || base === undefined) return relative;
  const uri: Mutable = { ...base };
  const replace = (keys: readonly ('query' | 'fragment' | 'params')[]): void => {
    for (const key of keys) {
      delete uri[key];
      if (relative[key] !== undefined) uri[key] = relative[key];
    }
  };
  if (relative.path !== undefined) {
    uri.path = resolvePath(base.path ?? '/', relative.path);
    replace(['query', 'fragment', 'params']);
  } else if (relative.query !== undefined) {
    replace(['query', 'fragment', 'params']);
  } else if (relative.fragment !== undefined) {
    replace(['fragment', 'params']);
  } else if (relative.params !== undefined) {
    replace(['params']);
  }
  return uri;
}

/** What an image that came from this URI is called: the last part of its path, decoded. */
export function nameOfUri(uri: Uri): string | undefined {
  const path = uri.path === undefined ? uri.opaque : decode(uri.path);
  return path?.slice(path.lastIndexOf('/') + 1);
}

function resolvePath(base: string, relative: string): string {
  if (relative.startsWith('/')) return relative;
  let folder = dirname(base);
  let rest = relative;
  for (;;) {
    if (rest === '.') rest = '';
    else if (rest.startsWith('./')) rest = rest.slice(2);
    else if (rest === '..') {
      folder = dirname(folder);
      rest = '';
    } else if (rest.startsWith('../')) {
      folder = dirname(folder);
      rest = rest.slice(3);
    } else break;
  }
  return `${folder}${folder.endsWith('/') ? '' : '/'}${rest}`;
}

function dirname(path: string): string {
  const slash = path.lastIndexOf('/');
  if (slash === 0) return '/';
  return slash < 0 ? '.' : path.slice(0, slash);
}

function decode(text: string): string {
  return text.replace(/%([0-9a-fA-F]{1,2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** White space and what does not print is always escaped, so that no URI can smuggle a header line. */
function encode(text: string, special?: string): string {
  return text.replace(/[\s\S]/g, (character) =>
    character <= ' ' ||
    character >= '\x7f' ||
    (special !== undefined && (character === '%' || special.includes(character)))
      ? `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
      : character,
  );
}
