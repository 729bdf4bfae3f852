import type { IncomingHttpHeaders } from 'node:http';
import { decodeIpPrefix, type IpPrefix } from '../../formats/net/ip-address.ts';
import { isOneOf } from './http-client.ts';

/**
 * Who could have read a request on its way, or changed it:
 *
 * - `tls`: nobody. It came over TLS, or a proxy that the operator named says that it did.
 * - `loopback`: nobody but this machine. No proxy has a part in it.
 * - `plain`: whoever is between.
 */
export type Way = 'tls' | 'loopback' | 'plain';

const LOOPBACK = ['127.0.0.0/8', '::1'].map(decodeIpPrefix);

/** What proxies write. Where one of them stands, the peer is not who asks. */
const FORWARDED = [
  'forwarded',
  'via',
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-port',
  'x-forwarded-proto',
  'x-forwarded-server',
  'x-real-ip',
] as const;

/**
 * The way of a request. X-Forwarded-Proto counts only from a proxy that the operator named, and only where it is the one
 * word `https`: two values are those of two writers, one of whom may be anybody. A proxy on this machine that nobody named
 * would make every client of its own look like this machine, so what it writes makes the way plain.
 *
 * @param peer the socket's address. @param encrypted the socket speaks TLS.
 */
export function wayOf(
  peer: string,
  encrypted: boolean,
  headers: IncomingHttpHeaders,
  proxies: readonly IpPrefix[],
): Way {
  const isForwarded = FORWARDED.some((name) => headers[name] !== undefined);
  if (isForwarded && isOneOf(peer, proxies))
    return headers['x-forwarded-proto'] === 'https' ? 'tls' : 'plain';
  if (encrypted) return 'tls';
  return !isForwarded && isOneOf(peer, LOOPBACK) ? 'loopback' : 'plain';
}
