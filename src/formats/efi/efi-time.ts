import { Malformed } from '../../errors/malformed.ts';

/** EFI_TIME (UEFI 2.10 §8.3.1), in UTC, whole seconds: 16 bytes. */

/** @param at milliseconds since 1970, from 1900 to 9999. */
export function encodeEfiTime(at: number): Uint8Array {
  const date = new Date(at);
  const year = date.getUTCFullYear();
  if (!(year >= 1900 && year <= 9999)) throw new Malformed('EFI_TIME', `year ${year}`);
  const bytes = Buffer.alloc(16);
  bytes.writeUInt16LE(year, 0);
  bytes.set(
    [
      date.getUTCMonth() + 1,
      date.getUTCDate(),
      ...[date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()],
    ],
    2,
  );
  return bytes;
}

/** Milliseconds since 1970; undefined for 16 zeros, which mean no time. Throws `Malformed`. */
export function decodeEfiTime(bytes: Uint8Array): number | undefined {
  if (bytes.length !== 16) throw new Malformed('EFI_TIME', `${bytes.length} bytes`);
  if (bytes.every((octet) => octet === 0)) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [month = 0, day = 0, hour = 0, minute = 0, second = 0] = bytes.subarray(2, 7);
  const at = Date.UTC(view.getUint16(0, true), month - 1, day, hour, minute, second);
  // A padding byte, a part of a second, a time zone: signatures leave them 0 (UEFI 2.10 §8.2.2).
  if (bytes.subarray(7).some((octet) => octet !== 0))
    throw new Malformed('EFI_TIME', 'more than whole seconds');
  if (Number.isNaN(at) || Buffer.compare(encodeEfiTime(at), bytes) !== 0)
    throw new Malformed('EFI_TIME', 'no such time');
  return at;
}
