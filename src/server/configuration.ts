import { z } from 'zod';
import { Malformed } from '../errors/malformed.ts';
import { readOperatorFile } from '../files/operator-file.ts';
import { decodeIpPrefix } from '../formats/net/ip-address.ts';

/** `10.1.0.0/16`, `fd00:1::/48`, or one address. */
const PREFIX = z
  .string()
  .refine(isPrefix, 'must be an IP address, or one with a prefix length such as 10.1.0.0/16');

/** `serve --config FILE`: what an operator may change, and nothing that arrives over a network ever can. */
const CONFIGURATION = z.strictObject({
  /**
   * Lets loaders that cannot verify (a stock iPXE) start kernel and initrds unverified. Every page, log line
   * and screen then says so.
   */
  allow_unverified_loaders: z.boolean().default(false),
  /** Proxies whose X-Forwarded-For is believed. From anyone else the field is ignored. */
  trusted_proxies: z.array(PREFIX).default([]),
  /**
   * Networks that have a share of their own, so many times as large as that of one address: a classroom of forty
   * machines behind one router. Shares bind only where there is not enough for all.
   */
  shares: z
    .array(z.strictObject({ prefix: PREFIX, weight: z.number().int().min(1).max(100_000) }))
    .default([]),
  /** Hours after which everything that is served is read and held against its digest again; 0: never. */
  scrub_hours: z.number().min(0).max(336).default(24),
});

export type Configuration = z.infer<typeof CONFIGURATION>;

export const DEFAULT_CONFIGURATION: Configuration = CONFIGURATION.parse({});

/** Reads a configuration file. Throws a `Refusal`. */
export function readConfiguration(path: string): Promise<Configuration> {
  return readOperatorFile(path, CONFIGURATION);
}

function isPrefix(text: string): boolean {
  try {
    decodeIpPrefix(text);
    return true;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return false;
  }
}
