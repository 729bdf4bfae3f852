import { Malformed } from '../../errors/malformed.ts';
import { decodeIpAddress, type IpPrefix, isWithin } from '../../formats/net/ip-address.ts';

/**
 * Whose request it is. X-Forwarded-For counts only from a proxy that the operator named, since anyone can write it;
 * each proxy adds the address that it saw at the end, so what counts is the last one that is no such proxy.
 *
 * @param remote the peer's address.
 * @param forwarded the field's values, in order; several fields are one list (RFC 9110 §5.3).
 */
export function clientOf(
  remote: string,
  forwarded: string | readonly string[] | undefined,
  proxies: readonly IpPrefix[],
): string {
  if (forwarded === undefined || !isOneOf(remote, proxies)) return remote;
  let client = remote;
  for (const address of [...String(forwarded).split(',')].reverse()) {
    const named = address.trim();
    // What is no address ends the list: it says nothing about what stands before it.
    if (!isAddress(named)) return client;
    client = named;
    if (!isOneOf(named, proxies)) return client;
  }
  return client;
}

/** True where an address is in one of the networks; false for what is no address. */
export function isOneOf(address: string, prefixes: readonly IpPrefix[]): boolean {
  if (prefixes.length === 0 || !isAddress(address)) return false;
  const decoded = decodeIpAddress(address);
  return prefixes.some((prefix) => isWithin(decoded, prefix));
}

function isAddress(text: string): boolean {
  try {
    decodeIpAddress(text);
    return true;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return false;
  }
}
