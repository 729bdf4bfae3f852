import { Malformed } from '../errors/malformed.ts';
import { decodeIpAddress, decodeIpPrefix, isWithin } from '../formats/net/ip-address.ts';

/**
 * How near an address is: on the internet, on a network of somebody's own, on this machine. A mirror that redirects may
 * lead further out and never further in: who fetches for it would be its hand in networks that it cannot reach itself.
 */
export type AddressKind = 'public' | 'private' | 'loopback';

const DEPTH: Readonly<Record<AddressKind, number>> = { public: 0, private: 1, loopback: 2 };

/** This machine (RFC 1122 §3.2.1.3, RFC 4291 §2.5.3); addresses that mean "this one" lead there, too. */
const LOOPBACK = ['127.0.0.0/8', '0.0.0.0/8', '::1', '::'].map(decodeIpPrefix);

/**
 * RFC 1918, link-local (a cloud's own service stands at 169.254.169.254), carriers (RFC 6598), benchmarks, IETF's own,
 * multicast and reserved; unique local, link-local and multicast of IPv6, and IPv4 inside IPv6 (RFC 6052, 3056).
 */
const PRIVATE = [
  '10.0.0.0/8',
  '100.64.0.0/10',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.168.0.0/16',
  '198.18.0.0/15',
  '224.0.0.0/3',
  'fc00::/7',
  'fe80::/9',
  'ff00::/8',
  '64:ff9b::/32',
  '2002::/16',
].map(decodeIpPrefix);

/** @param text an address as the system prints it. @throws Malformed */
export function addressKind(text: string): AddressKind {
  const address = decodeIpAddress(text);
  if (LOOPBACK.some((prefix) => isWithin(address, prefix))) return 'loopback';
  return PRIVATE.some((prefix) => isWithin(address, prefix)) ? 'private' : 'public';
}

/** Whether a redirect from an address of one kind to one of another leads further in. */
export function leadsInward(from: AddressKind, to: AddressKind): boolean {
  return DEPTH[to] > DEPTH[from];
}

/** True for what is an address and no name. */
export function isAddress(text: string): boolean {
  try {
    decodeIpAddress(text);
    return true;
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}
