import { isIPv6 } from 'node:net';
import { contextTag } from '../formats/asn1/der.ts';
import type { Certificate } from '../formats/asn1/x509.ts';
import { parseUnsigned } from '../formats/script/ipxe-settings.ts';

/** The kinds of alternative name that iPXE reads (RFC 5280 §4.2.1.6). */
const DNS_NAME = contextTag(2, false);
const IP_ADDRESS = contextTag(7, false);

/**
 * Whether iPXE's `imgverify --signer NAME` takes this certificate for NAME's. Source: iPXE `src/crypto/x509.c`,
 * `x509_check_name`, as of 2026-08: it is the function that compares host names for TLS. So letter case does
 * not count, `*.b` is the name of everything that ends in `.b` behind its first dot, and an alternative name
 * is as good as the common one.
 */
export function answersToIpxe(certificate: Certificate, name: string): boolean {
  if (answersAsHost(certificate.commonName, name)) return true;
  return certificate.alternativeNames.some(({ tag, content }) => {
    if (tag === DNS_NAME) return answersAsHost(Buffer.from(content).toString('utf8'), name);
    return tag === IP_ADDRESS && isAddress(content, name);
  });
}

function answersAsHost(own: string, name: string): boolean {
  if (!own.startsWith('*.')) return fold(own) === fold(name);
  const dot = name.indexOf('.');
  return dot >= 0 && fold(own.slice(2)) === fold(name.slice(dot + 1));
}

/** ASCII letters only, as iPXE's `toupper`. */
function fold(text: string): string {
  return text.replace(/[a-z]/g, (letter) => letter.toUpperCase());
}

function isAddress(octets: Uint8Array, name: string): boolean {
  if (octets.length === 4) {
    const parts = name.split('.').map(parseUnsigned);
    return parts.length === 4 && parts.every((part, index) => part === BigInt(octets[index] ?? 0));
  }
  const bare = /^\[.*\]$/.test(name) ? name.slice(1, -1) : name;
  if (octets.length !== 16 || !isIPv6(bare) || bare.includes('%')) return false;
  const groups = Buffer.from(octets).toString('hex').match(/.{4}/g) ?? [];
  return canonical(bare) === canonical(groups.join(':'));
}

function canonical(address: string): string {
  return new URL(`http://[${address}]`).hostname;
}
