import { Malformed } from '../../errors/malformed.ts';

/** An IP address as one number. IPv4 in IPv6 (`::ffff:10.0.0.1`, RFC 4291 §2.5.5.2) is the IPv4 address. */
export interface IpAddress {
  readonly family: 4 | 6;
  readonly bits: bigint;
}

/** Addresses that begin alike. */
export interface IpPrefix extends IpAddress {
  /** Bits that count, from the first. */
  readonly length: number;
}

const MAPPED = 0xffffn;

/** Reads `10.0.0.1`, `fd00::1`, `fe80::1%eth0` (whose zone is left out). @throws Malformed */
export function decodeIpAddress(text: string): IpAddress {
  const zone = text.indexOf('%');
  const address = zone === -1 ? text : text.slice(0, zone);
  if (!address.includes(':')) {
    if (zone !== -1) throw new Malformed('IP address', 'an IPv4 address with a zone');
    return { family: 4, bits: ipv4(address) };
  }
  const bits = ipv6(address);
  return bits >> 32n === MAPPED ? { family: 4, bits: bits & 0xffffffffn } : { family: 6, bits };
}

/** Reads `10.1.0.0/16`, `fd00:1::/48`, or an address alone. Bits behind the prefix must be 0. @throws Malformed */
export function decodeIpPrefix(text: string): IpPrefix {
  const [address = '', suffix, ...more] = text.split('/');
  if (more.length > 0) throw new Malformed('IP prefix', 'two slashes');
  if (address.includes('%')) throw new Malformed('IP prefix', 'a zone');
  const { family, bits } = decodeIpAddress(address);
  const size = family === 4 ? 32 : 128;
  let length = size;
  if (suffix !== undefined) {
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(suffix))
      throw new Malformed('IP prefix', 'no length behind the slash');
    // Of an IPv4 address that is written as IPv6, 96 bits are the same in all.
    length = Number(suffix) - (family === 4 && address.includes(':') ? 96 : 0);
  }
  if (length < 0 || length > size) throw new Malformed('IP prefix', `a length beyond ${size} bits`);
  if (prefixBits(bits, size, length) !== bits) throw new Malformed('IP prefix', 'bits behind its length');
  return { family, bits, length };
}

/** An address as the host of a URL: IPv6 in brackets (RFC 3986 §3.2.2), the sign before its zone as %25 (RFC 6874 §2). */
export function urlHost(address: string): string {
  return address.includes(':') ? `[${address.replace('%', '%25')}]` : address;
}

/** True where `address` begins with `prefix`. */
export function isWithin(address: IpAddress, prefix: IpPrefix): boolean {
  if (address.family !== prefix.family) return false;
  return prefixBits(address.bits, address.family === 4 ? 32 : 128, prefix.length) === prefix.bits;
}

/** `bits` with those behind the first `length` of `size` cleared. */
export function prefixBits(bits: bigint, size: number, length: number): bigint {
  const rest = BigInt(size - length);
  return (bits >> rest) << rest;
}

/** `10.0.0.1` */
export function ipv4Text(bits: bigint): string {
  return [24n, 16n, 8n, 0n].map((shift) => String((bits >> shift) & 0xffn)).join('.');
}

function ipv4(text: string): bigint {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) throw new Malformed('IP address', 'neither IPv4 nor IPv6');
  let bits = 0;
  for (const part of match.slice(1)) {
    // A leading zero is octal to some and decimal to others.
    if (Number(part) > 255 || (part.length > 1 && part.startsWith('0'))) {
      throw new Malformed('IP address', 'an IPv4 part that is no number from 0 to 255');
    }
    bits = bits * 256 + Number(part);
  }
  return BigInt(bits);
}

function ipv6(text: string): bigint {
  const halves = text.split('::');
  const [front, back] = halves.map((half, index) => groups(half, index === halves.length - 1)) as [
    bigint[],
    bigint[] | undefined,
  ];
  const count = front.length + (back?.length ?? 0);
  if (halves.length > 2 || (back === undefined ? count !== 8 : count > 7)) {
    throw new Malformed('IP address', 'an IPv6 address that has not eight groups');
  }
  const all = [...front, ...Array<bigint>(8 - count).fill(0n), ...(back ?? [])];
  return all.reduce((bits, group) => (bits << 16n) | group, 0n);
}

/** Groups of 16 bits; the last two of an address may be written as IPv4. */
function groups(text: string, last: boolean): bigint[] {
  if (text === '') return [];
  const parts = text.split(':');
  return parts.flatMap((part, index) => {
    if (last && index === parts.length - 1 && part.includes('.')) {
      const bits = ipv4(part);
      return [bits >> 16n, bits & 0xffffn];
    }
    if (!/^[0-9a-fA-F]{1,4}$/.test(part))
      throw new Malformed('IP address', 'a group that is not hexadecimal');
    return [BigInt(`0x${part}`)];
  });
}
