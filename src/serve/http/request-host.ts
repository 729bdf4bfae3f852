/** RFC 9110 §7.2, RFC 3986 §3.2.2: a name, an IPv4 address, or an IP literal in brackets, and perhaps a port. */
const HOST =
  /^(?:\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\]|(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+)(?::[0-9]*)?$/;

/**
 * Why a request's Host is none that may be answered (RFC 9112 §3.2): two of them are how a proxy and the server
 * behind it are made to see different requests. Undefined where it is in order.
 *
 * @param rawHeaders names and values in turns, as `node:http` gives them.
 * @param needed true from HTTP/1.1 on.
 */
export function hostFault(rawHeaders: readonly string[], needed: boolean): string | undefined {
  let host: string | undefined;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    if (rawHeaders[index]?.toLowerCase() !== 'host') continue;
    if (host !== undefined) return 'The request has two Host fields.';
    host = rawHeaders[index + 1] ?? '';
  }
  if (host === undefined) return needed ? 'The request has no Host field.' : undefined;
  return HOST.test(host) ? undefined : 'The Host field names no host.';
}
