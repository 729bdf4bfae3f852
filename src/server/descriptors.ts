import { readFileSync } from 'node:fs';
import { DEFAULT_HTTP_LIMITS, type HttpLimits } from '../serve/http/http-types.ts';
import { DEFAULT_NBD_LIMITS, type NbdLimits } from '../serve/nbd/nbd-types.ts';
import { DEFAULT_TFTP_LIMITS, type TftpLimits } from '../serve/tftp/tftp-types.ts';

/**
 * How many files and sockets this process may have open (Linux); undefined where the system does not say, or sets no
 * bound.
 */
export function descriptorLimit(): number | undefined {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
    return limit === undefined ? undefined : Number(limit);
  } catch {
    // A hint: without it the usual bounds serve.
    return undefined;
  }
}

/** Bounds of the three servers on how many clients they let in. */
export interface AllowedClients {
  readonly http: Pick<HttpLimits, 'maxConnections' | 'reservedConnections'>;
  readonly tftp: Pick<TftpLimits, 'maxTransfers'>;
  readonly nbd: Pick<NbdLimits, 'maxConnections' | 'maxToldRefusals'>;
}

/**
 * As many clients as descriptors allow. Where there is none left the system takes connections and closes them again,
 * whoever they are from, and asks nobody who should give way: so the servers run out of places before that. A
 * response and a transfer hold two descriptors (socket and file), a connection of NBD one; a fifth is left for
 * everything else.
 *
 * @param limit descriptors; undefined: the usual bounds.
 */
export function clientsWithin(limit: number | undefined): AllowedClients {
  const within = (most: number, part: number): number =>
    limit === undefined ? most : Math.max(1, Math.min(most, Math.floor(limit * part)));
  return {
    http: {
      maxConnections: within(DEFAULT_HTTP_LIMITS.maxConnections, 1 / 8),
      reservedConnections: within(DEFAULT_HTTP_LIMITS.reservedConnections, 1 / 32),
    },
    tftp: { maxTransfers: within(DEFAULT_TFTP_LIMITS.maxTransfers, 1 / 16) },
    nbd: {
      maxConnections: within(DEFAULT_NBD_LIMITS.maxConnections, 3 / 8),
      maxToldRefusals: within(DEFAULT_NBD_LIMITS.maxToldRefusals, 1 / 32),
    },
  };
}
