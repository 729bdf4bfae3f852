import { readFileSync } from 'node:fs';
import { isAbsent } from '../errors/io.ts';

/**
 * How many files and sockets this process may have open (Linux); undefined where the system does not say, or sets no
 * bound. A server that lets in more clients than that finds out when it can open no file any more.
 */
export function descriptorLimit(): number | undefined {
  try {
    const limit = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1];
    return limit === undefined ? undefined : Number(limit);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw error;
  }
}
