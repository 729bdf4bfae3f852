import { Malformed } from '../errors/malformed.ts';
import {
  decodeIpAddress,
  decodeIpPrefix,
  type IpPrefix,
  ipv4Text,
  isWithin,
  prefixBits,
} from '../formats/net/ip-address.ts';

/** Those who have one part of what a server has. */
export interface Share {
  /** The same for all who have it: `10.0.0.1`, `fd000000000000010000000000000000/64`, a configured prefix. */
  readonly name: string;
  /** How many times a usual part: the machines that are behind it. */
  readonly weight: number;
}

/** A prefix that the operator gave a share of its own. */
export interface ShareRule {
  /** `10.1.0.0/16` */
  readonly prefix: string;
  readonly weight: number;
}

/** Addresses whose share is remembered. */
const REMEMBERED = 4096;

/** Bits of an IPv6 address that a network gives to one customer, who chooses the others at will. */
const IPV6_SHARE = 64;

/**
 * Whose share an address has: that of the longest configured prefix that it is in, else its own (IPv4), else that
 * of its /64 (IPv6).
 */
export class Shares {
  readonly #rules: readonly { readonly prefix: IpPrefix; readonly share: Share }[];
  readonly #known = new Map<string, Share>();

  /** @throws Malformed where a prefix is none. */
  constructor(rules: readonly ShareRule[] = []) {
    this.#rules = rules
      .map(({ prefix, weight }) => ({ prefix: decodeIpPrefix(prefix), share: { name: prefix, weight } }))
      .sort((one, other) => other.prefix.length - one.prefix.length);
  }

  /** @param address as a socket says it; what is none shares with everything else that is none. */
  of(address: string): Share {
    const known = this.#known.get(address);
    if (known !== undefined) return known;
    const share = this.#find(address);
    // Whoever asks from ever new addresses makes it forget, and not grow.
    if (this.#known.size >= REMEMBERED) this.#known.clear();
    this.#known.set(address, share);
    return share;
  }

  #find(address: string): Share {
    try {
      const decoded = decodeIpAddress(address);
      const rule = this.#rules.find(({ prefix }) => isWithin(decoded, prefix));
      if (rule !== undefined) return rule.share;
      if (decoded.family === 4) return { name: ipv4Text(decoded.bits), weight: 1 };
      return { name: `${prefixBits(decoded.bits, 128, IPV6_SHARE).toString(16)}/64`, weight: 1 };
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      return { name: 'unknown', weight: 1 };
    }
  }
}
