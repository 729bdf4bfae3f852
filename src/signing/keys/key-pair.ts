import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** RSA with the profile's modulus length, or ECDSA on P-256: what iPXE 2.0, OpenSSL and UEFI all verify. */
export type KeyKind = 'rsa' | 'p256';

const generate = promisify(generateKeyPair);

/** @param rsaBits modulus length; ignored for P-256. */
export async function newKeyPair(kind: KeyKind, rsaBits: number): Promise<KeyPair> {
  return kind === 'rsa'
    ? generate('rsa', { modulusLength: rsaBits, publicExponent: 0x10001 })
    : generate('ec', { namedCurve: 'P-256' });
}
