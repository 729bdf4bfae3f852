import { generateKeyPair, type KeyObject } from 'node:crypto';
import { promisify } from 'node:util';

export interface KeyPair {
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** RSA with the profile's modulus length, or ECDSA on P-256: what iPXE 2.0, OpenSSL and UEFI all verify. */
export type KeyKind = 'rsa' | 'p256';

/**
 * Makes a new key: whatever makes keys takes one of these, so that nobody but the caller decides where randomness
 * comes from.
 *
 * @param rsaBits modulus length; ignored for P-256.
 */
export type MakeKeyPair = (kind: KeyKind, rsaBits: number) => Promise<KeyPair>;

const generate = promisify(generateKeyPair);

/** By OpenSSL's generator, where nobody says otherwise. */
export const newKeyPair: MakeKeyPair = (kind, rsaBits) =>
  kind === 'rsa'
    ? generate('rsa', { modulusLength: rsaBits, publicExponent: 0x10001 })
    : generate('ec', { namedCurve: 'P-256' });
