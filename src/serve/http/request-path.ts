import type { Refusal } from '../../errors/refusal.ts';
import { MAX_NAME, unsafePath, wirePath } from '../wire-name.ts';

/**
 * The decoded path of an HTTP request target (RFC 9112 §3.2.1), or why it is refused.
 *
 * Percent-encoding is undone exactly once, segment by segment: `%252e` stays `%2e` and is refused for its `%`, and an
 * encoded slash separates nothing. A target in absolute-form is what a client sends to a proxy, and this is none
 * (RFC 9112 §3.2.2 asks servers to accept it; no boot client sends it, and two ways to spell one name is one too many).
 *
 * @param target as on the request line: `/releases/arch/2026.11.01/version?x=y`. The query is dropped.
 * @returns what `wirePath` does.
 */
export function safeRequestPath(target: string): string | Refusal {
  const query = target.indexOf('?');
  const raw = query === -1 ? target : target.slice(0, query);
  if (raw.length > MAX_NAME) return unsafePath(`The path is longer than ${MAX_NAME} bytes`);
  if (!raw.startsWith('/')) return unsafePath('The request target is not an absolute path');
  const decoded: string[] = [];
  for (const segment of raw.split('/')) {
    const name = percentDecoded(segment);
    if (name === undefined) return unsafePath('The path has a percent sign that encodes nothing');
    if (name.includes('/')) return unsafePath('The path has an encoded slash');
    decoded.push(name);
  }
  return wirePath(decoded.join('/'));
}

/** Undoes percent-encoding once, one byte to one character; undefined where a `%` has no two hex digits. */
function percentDecoded(segment: string): string | undefined {
  if (/%(?![0-9A-Fa-f]{2})/.test(segment)) return undefined;
  return segment.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}
