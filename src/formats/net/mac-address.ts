import { Malformed } from '../../errors/malformed.ts';

const OCTETS = 6;

/** Reads `52:54:00:12:34:56` or `52-54-00-12-34-56`, in either case. @throws Malformed */
export function decodeMacAddress(text: string): Buffer {
  const separator = text[2] ?? '';
  const parts = text.split(separator);
  if (
    !/^[:-]$/.test(separator) ||
    parts.length !== OCTETS ||
    !parts.every((part) => /^[0-9a-fA-F]{2}$/.test(part))
  )
    throw new Malformed('MAC address', 'not six pairs of hexadecimal digits with : or - between them');
  return Buffer.from(parts.join(''), 'hex');
}

/** `52:54:00:12:34:56` */
export function encodeMacAddress(address: Uint8Array): string {
  return [...address].map((octet) => octet.toString(16).padStart(2, '0')).join(':');
}

/** True for the address of one card: neither a group's (IEEE 802, the first octet's lowest bit), nor nobody's. */
export function isCardAddress(address: Uint8Array): boolean {
  return ((address[0] ?? 1) & 1) === 0 && address.some((octet) => octet !== 0);
}
