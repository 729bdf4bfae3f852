import { Malformed } from '../../errors/malformed.ts';
import { encodeRsaKey } from './openpgp-key.ts';
import { encodeMpi, mpiNumber, PacketCursor } from './openpgp-packet.ts';

/** OpenPGP secret key packets, version 4 (RFC 9580 §5.5.3). */

/** Numbers of an RSA key, big-endian, as OpenPGP orders them. */
export interface RsaSecret {
  readonly n: Uint8Array;
  readonly e: Uint8Array;
  readonly d: Uint8Array;
  readonly p: Uint8Array;
  readonly q: Uint8Array;
  /** p⁻¹ mod q. */
  readonly u: Uint8Array;
}

export interface OpenpgpSecretKey {
  /** The body of the public key packet that belongs to it. */
  readonly publicBody: Uint8Array;
  /** Undefined where a passphrase protects it, or it is kept elsewhere (a card, another computer). */
  readonly rsa: RsaSecret | undefined;
}

/**
 * Encodes the body of an RSA key's secret key packet, unprotected: its numbers are for everybody to read.
 *
 * @param created milliseconds since 1970, whole seconds.
 */
export function encodeOpenpgpSecretKey(created: number, { n, e, d, p, q, u }: RsaSecret): Uint8Array {
  const secret = Buffer.concat([d, p, q, u].map(encodeMpi));
  const sum = Buffer.alloc(2);
  sum.writeUInt16BE(checksum(secret));
  return Buffer.concat([encodeRsaKey(created, n, e), Uint8Array.of(0), secret, sum]);
}

/** Of the secret numbers as they stand: the sum of their bytes, modulo 65536. */
function checksum(secret: Uint8Array): number {
  return secret.reduce((total, byte) => (total + byte) & 0xffff, 0);
}

/**
 * Decodes the body of a secret key or secret subkey packet.
 *
 * @returns undefined for keys that are no RSA.
 * @throws Malformed
 */
export function decodeOpenpgpSecretKey(body: Uint8Array): OpenpgpSecretKey | undefined {
  const cursor = new PacketCursor(body);
  const version = cursor.octet();
  if (version !== 4) throw new Malformed('OpenPGP', `key version ${version}, not 4`);
  // When it was made.
  cursor.take(4);
  const algorithm = cursor.octet();
  if (algorithm !== 1 && algorithm !== 3) return undefined;
  const [n, e] = [cursor.mpi(), cursor.mpi()];
  const publicBody = body.subarray(0, cursor.at);
  if (cursor.octet() !== 0) return { publicBody, rsa: undefined };
  const start = cursor.at;
  const [d, p, q, u] = [cursor.mpi(), cursor.mpi(), cursor.mpi(), cursor.mpi()];
  const sum = checksum(body.subarray(start, cursor.at));
  if (cursor.unsigned(2) !== sum)
    throw new Malformed('OpenPGP', 'the checksum of a secret key is not its own');
  cursor.end();
  const [first, second] = [mpiNumber(p), mpiNumber(q)];
  if (first < 2n || second < 2n || first * second !== mpiNumber(n)) {
    throw new Malformed('OpenPGP', 'the numbers of a secret key do not belong together');
  }
  return { publicBody, rsa: { n, e, d, p, q, u } };
}
