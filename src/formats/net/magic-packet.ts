import { Malformed } from '../../errors/malformed.ts';

/** Bytes of FF that a card wakes up to look behind. */
const SYNCHRONIZATION = 6;
const REPETITIONS = 16;

/** Where magic packets go by custom: discard. The card looks at no header. */
export const WAKE_PORT = 9;

/**
 * A magic packet (AMD, "Magic Packet Technology", publication 20213): six bytes of FF, sixteen times the card's address,
 * and a password where the card was given one (SecureOn). 102 bytes, 106 or 108 with a password.
 *
 * @param mac `52:54:00:12:34:56`
 * @param password of `decodeWakePassword`.
 */
export function encodeMagicPacket(mac: string, password: Uint8Array = new Uint8Array()): Buffer {
  const address = Buffer.from(mac.replaceAll(':', ''), 'hex');
  return Buffer.concat([
    Buffer.alloc(SYNCHRONIZATION, 0xff),
    ...Array.from({ length: REPETITIONS }, () => address),
    password,
  ]);
}

/** Reads a SecureOn password: six bytes as a MAC address is written, or four as an IPv4 address is. @throws Malformed */
export function decodeWakePassword(text: string): Buffer {
  if (/^[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4}[0-9a-fA-F]{2}$/.test(text))
    return Buffer.from(text.replaceAll(/[:-]/g, ''), 'hex');
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9][0-9]{0,2})$/.test(part) && Number(part) < 256))
    throw new Malformed('SecureOn password', 'neither six pairs of hexadecimal digits nor four numbers');
  return Buffer.from(parts.map(Number));
}
