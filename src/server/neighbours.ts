import { readFileSync } from 'node:fs';
import { claimedMac } from '../formats/net/machine-claims.ts';

/** Milliseconds between two readings of the table. */
const EVERY_MS = 200;
/** Where Linux tells its neighbours of IPv4, proc(5); `/proc/net` is not there where /proc shows processes alone. */
const TABLE = '/proc/self/net/arp';

/**
 * Whose card an IPv4 address belongs to on a network of this machine's own, as the kernel's table of neighbours says. It
 * holds who answered when the kernel asked, so it is a claim of that LAN: it joins what belongs together, and unlocks
 * nothing.
 *
 * @param now milliseconds of a monotonic clock.
 */
export function neighbours(
  now: () => number,
  read: () => string = readTable,
): (address: string) => string | undefined {
  let table = new Map<string, string>();
  let at = Number.NEGATIVE_INFINITY;
  return (address) => {
    const known = table.get(address);
    if (known !== undefined && now() - at < 10 * EVERY_MS) return known;
    if (now() - at < EVERY_MS) return known;
    at = now();
    table = decodeTable(read());
    return table.get(address);
  };
}

function readTable(): string {
  try {
    return readFileSync(TABLE, 'latin1');
  } catch {
    // No Linux, or no /proc: nobody can tell.
    return '';
  }
}

/** `10.0.0.7  0x1  0x2  52:54:00:12:34:56  *  eth0`: flag 2 is an entry that is complete. */
function decodeTable(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of text.split('\n').slice(1)) {
    const [address = '', , flags = '', card] = line.trim().split(/\s+/);
    const mac = claimedMac(card);
    if (mac !== undefined && (Number.parseInt(flags, 16) & 2) !== 0) found.set(address, mac);
  }
  return found;
}
