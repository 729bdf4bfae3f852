import { Refusal } from '../../errors/refusal.ts';

/** Longest path of a request target, bytes as sent, the query not counted. */
const MAX_PATH = 1024;

const SEGMENT = /^[A-Za-z0-9._+@:,=~-]+$/;

/**
 * The decoded path of an HTTP request target (RFC 9112 §3.2.1), or why it is refused.
 *
 * The list of what is allowed is short because whatever is on it reaches `Site.find` and from there,
 * perhaps, a file system. Percent-encoding is undone exactly once: `%252e` stays `%2e` and is refused for
 * its `%`. An encoded slash, a NUL, a backslash and every byte above 126 fall out the same way. A target
 * in absolute-form is what a client sends to a proxy, and this is none (RFC 9112 §3.2.2 asks servers to
 * accept it; no boot client sends it, and two ways to spell one name is one too many).
 *
 * @param target as on the request line: `/releases/arch/2026.11.01/version?x=y`. The query is dropped.
 * @returns `/`, or an absolute path of safe segments without a slash at its end; a `Refusal`
 *   `unsafe-path` (the client plays tricks) or `absent` (a directory, which this server does not list).
 */
export function safeRequestPath(target: string): string | Refusal {
  const query = target.indexOf('?');
  const raw = query === -1 ? target : target.slice(0, query);
  if (raw.length > MAX_PATH) return unsafe(`The path is longer than ${MAX_PATH} bytes`);
  if (!raw.startsWith('/')) return unsafe('The request target is not an absolute path');
  if (raw === '/') return raw;

  const segments = raw.slice(1).split('/');
  const decoded: string[] = [];
  for (const [index, segment] of segments.entries()) {
    if (segment === '') {
      return index > 0 && index === segments.length - 1
        ? new Refusal('absent', 'Directories are not listed: a path here does not end in a slash.')
        : unsafe('The path has an empty segment');
    }
    const name = percentDecoded(segment);
    if (name === undefined) return unsafe('The path has a percent sign that encodes nothing');
    if (name === '.' || name === '..') return unsafe('The path has a dot segment');
    if (!SEGMENT.test(name)) return unsafe('The path has a character that no file of a release has');
    decoded.push(name);
  }
  return `/${decoded.join('/')}`;
}

/** Undoes percent-encoding once, one byte to one character; undefined where a `%` has no two hex digits. */
function percentDecoded(segment: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(segment)) return undefined;
  return segment.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

function unsafe(why: string): Refusal {
  return new Refusal('unsafe-path', `${why}.`);
}
