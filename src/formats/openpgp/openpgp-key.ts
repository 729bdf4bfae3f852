import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { encodeMpi, PacketCursor } from './openpgp-packet.ts';

/** OpenPGP public key packets, version 4 (RFC 9580 §5.5.2). */

export interface OpenpgpKey {
  /** 40 lower-case hex digits. */
  readonly fingerprint: string;
  /** The last 16 of them. */
  readonly keyId: string;
  /** Milliseconds since 1970. */
  readonly created: number;
  /** RFC 9580 §9.1. */
  readonly algorithm: number;
  readonly type: 'rsa' | 'dsa' | 'ecdsa' | 'ed25519' | 'other';
  /** Length of the modulus or field; 0 where we do not know. */
  readonly bits: number;
  /** Undefined for algorithms that we cannot verify with. */
  readonly object: KeyObject | undefined;
  /** The packet's body. */
  readonly body: Uint8Array;
}

const CURVE_ED25519 = Buffer.from('2b06010401da470f01', 'hex');

/** What a fingerprint and a certification hash a key as (RFC 9580 §5.5.4). */
export function keyHashInput(body: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(0x99, body.length >> 8, body.length & 0xff), body]);
}

/** Decodes the body of a public key or public subkey packet. Throws `Malformed`. */
export function decodeOpenpgpKey(body: Uint8Array): OpenpgpKey {
  const cursor = new PacketCursor(body);
  const version = cursor.octet();
  if (version !== 4) throw new Malformed('OpenPGP', `key version ${version}, not 4`);
  if (body.length > 0xffff) throw new Malformed('OpenPGP', `key of ${body.length} bytes`);
  const created = cursor.unsigned(4) * 1000;
  const algorithm = cursor.octet();
  const material = keyMaterial(algorithm, cursor);
  const fingerprint = createHash('sha1').update(keyHashInput(body)).digest('hex');
  return { fingerprint, keyId: fingerprint.slice(-16), created, algorithm, ...material, body };
}

function keyMaterial(algorithm: number, cursor: PacketCursor): Pick<OpenpgpKey, 'type' | 'bits' | 'object'> {
  // 1 RSA, 3 RSA sign-only; 2 (encrypt-only) can sign nothing.
  if (algorithm === 1 || algorithm === 3) {
    const n = cursor.mpi();
    const e = cursor.mpi();
    cursor.end();
    const jwk = { kty: 'RSA', n: base64url(n), e: base64url(e) };
    return { type: 'rsa', bits: n.length * 8 - Math.clz32(n[0] ?? 0) + 24, object: importJwk(jwk) };
  }
  if (algorithm === 17) {
    const p = cursor.mpi();
    return { type: 'dsa', bits: p.length * 8, object: undefined };
  }
  if (algorithm === 22 || algorithm === 19) {
    const curve = cursor.take(cursor.octet());
    const point = cursor.mpi();
    cursor.end();
    if (algorithm === 22 && Buffer.compare(curve, CURVE_ED25519) === 0) {
      // The native point is prefixed with 0x40 (RFC 9580 §11.2.1).
      if (point.length !== 33 || point[0] !== 0x40) throw new Malformed('OpenPGP', 'Ed25519 point');
      const jwk = { kty: 'OKP', crv: 'Ed25519', x: base64url(point.subarray(1)) };
      return { type: 'ed25519', bits: 256, object: importJwk(jwk) };
    }
    return { type: algorithm === 19 ? 'ecdsa' : 'other', bits: 0, object: undefined };
  }
  if (algorithm === 27) {
    const x = cursor.take(32);
    cursor.end();
    return { type: 'ed25519', bits: 256, object: importJwk({ kty: 'OKP', crv: 'Ed25519', x: base64url(x) }) };
  }
  return { type: 'other', bits: 0, object: undefined };
}

function importJwk(jwk: Record<string, string>): KeyObject {
  try {
    return createPublicKey({ key: jwk, format: 'jwk' });
  } catch (error) {
    throw new Malformed('OpenPGP', `key material: ${(error as Error).message}`);
  }
}

/** Encodes the body of a version 4 RSA key packet. `created` in milliseconds; `n`, `e` big-endian. */
export function encodeRsaKey(created: number, n: Uint8Array, e: Uint8Array): Uint8Array {
  const header = Buffer.alloc(6);
  header[0] = 4;
  header.writeUInt32BE(Math.floor(created / 1000), 1);
  header[5] = 1;
  return Buffer.concat([header, encodeMpi(n), encodeMpi(e)]);
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}
