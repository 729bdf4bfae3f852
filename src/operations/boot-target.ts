import { UsageError } from '../errors/usage.ts';

/** What `boot` is told: where the machine begins, and which it is. */

/** Reads the address of an entry script. Throws a `Refusal` (`malformed`) for anything but http: and tftp:. */
export function bootUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !['http:', 'tftp:'].includes(url.protocol) || !url.hostname) {
    throw new UsageError(`${JSON.stringify(text)} is no http: or tftp: address.`);
  }
  return url;
}

/** A MAC address in small letters. Throws a `Refusal` (`malformed`). */
export function checkedMac(mac: string): string {
  if (/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(mac)) return mac.toLowerCase();
  throw new UsageError(`${JSON.stringify(mac)} is no MAC address; write it as 52:54:00:12:34:56.`);
}

/** Whether an address is that of an image for firmware, and not of a script for a loader. */
export function isImageUrl(url: string): boolean {
  return URL.canParse(url) && new URL(url).pathname.endsWith('.efi');
}
