import { Malformed } from '../../errors/malformed.ts';
import { decodePackets, PACKET, PacketCursor } from '../openpgp/openpgp-packet.ts';
import { decodeSignature } from '../openpgp/openpgp-signature.ts';

/**
 * The protocol of OBS signd (openSUSE/obs-sign: `signd`, `sock.c`), as its client speaks it.
 *
 * `sign` takes a finished digest and signs just that, padded and no more; the answer wraps the number into an
 * OpenPGP signature packet whose own fields (class, time) are *not* under the signature. A version 3 signature
 * hashes five bytes after its content, which the client was to hash itself. So whoever throws the wrapping
 * away holds a plain signature, over whatever was hashed: a CMS content, or content and trailer of an OpenPGP
 * signature of version 4.
 */

/**
 * `old`: `u16 userlen, u16 arglen, user, argument`; `new`: `u16 len, u16 0, u16 argc, u16 len × argc, arguments`.
 * Big-endian, as everything here.
 */
export type SigndFraming = 'old' | 'new';
/** The server's default is SHA-1, so the hash is always named. */
export type SigndHash = 'sha256' | 'sha512';

const FORMAT = 'signd';
const HASHES: Readonly<
  Record<SigndHash, { readonly name: string; readonly octets: number; readonly id: number }>
> = {
  sha256: { name: 'SHA256', octets: 32, id: 8 },
  sha512: { name: 'SHA512', octets: 64, id: 10 },
};
/** Class 00 and a time of zero: what obs-sign sends for signatures that are no OpenPGP ones. */
const CLASS_AND_TIME = '0000000000';
const HEADER = 6;

/** A key's name on the server: it becomes the name of a file there. */
export function isSigndUser(user: string): boolean {
  return /^[^.\x00-\x1f\x7f/][^\x00-\x1f\x7f/]*$/.test(user) && Buffer.byteLength(user) <= 255;
}

/**
 * Asks for a signature over `digest`. The old framing names the hash before the digest, the new one before the
 * user.
 *
 * @throws Malformed for a user or a digest that no server takes.
 */
export function encodeSignRequest(
  framing: SigndFraming,
  user: string,
  hash: SigndHash,
  digest: Uint8Array,
): Uint8Array {
  const { name, octets } = HASHES[hash];
  if (!isSigndUser(user)) throw new Malformed(FORMAT, 'no name of a key');
  if (digest.length !== octets) throw new Malformed(FORMAT, `a ${name} digest of ${digest.length} bytes`);
  const argument = `${Buffer.from(digest).toString('hex')}@${CLASS_AND_TIME}`;
  if (framing === 'old') {
    const parts = [Buffer.from(user), Buffer.from(`${name}:${argument}`)];
    return Buffer.concat([lengths(parts), ...parts]);
  }
  const parts = ['sign', `${name}:${user}`, argument].map((part) => Buffer.from(part));
  const body = Buffer.concat([u16(parts.length), lengths(parts), ...parts]);
  return Buffer.concat([u16(body.length), u16(0), body]);
}

export interface SigndReply {
  /** 0: done. */
  readonly status: number;
  readonly out: Uint8Array;
  /** What the server has to say: a text. */
  readonly err: Uint8Array;
}

/** How long a reply is to be, from its first bytes; undefined while there are too few. At most 131,076. */
export function replyLength(octets: Uint8Array): number | undefined {
  if (octets.length < HEADER) return undefined;
  const view = Buffer.from(octets.subarray(0, HEADER));
  return HEADER + view.readUInt16BE(2) + view.readUInt16BE(4);
}

/** Decodes a whole reply, nothing after it. Throws `Malformed`. */
export function decodeReply(octets: Uint8Array): SigndReply {
  const length = replyLength(octets);
  if (length === undefined || octets.length < length) {
    throw new Malformed(FORMAT, 'a reply that ends early', octets.length);
  }
  if (octets.length > length) throw new Malformed(FORMAT, 'bytes after the reply', length);
  const head = Buffer.from(octets.subarray(0, HEADER));
  const outEnd = HEADER + head.readUInt16BE(2);
  return { status: head.readUInt16BE(0), out: octets.subarray(HEADER, outEnd), err: octets.subarray(outEnd) };
}

/** What a reply of status 0 holds: one answer, which the new framing wraps as a list. Throws `Malformed`. */
export function decodeAnswer(framing: SigndFraming, out: Uint8Array): Uint8Array {
  if (framing === 'old') return out;
  const view = Buffer.from(out);
  if (view.length < 4) throw new Malformed(FORMAT, 'a list of answers that ends early');
  const count = view.readUInt16BE(0);
  if (count !== 1) throw new Malformed(FORMAT, `${count} answers to one question`);
  if (view.readUInt16BE(2) !== view.length - 4) throw new Malformed(FORMAT, 'an answer of another length');
  return out.subarray(4);
}

/** The numbers of a signature, big-endian, without leading zeros. */
export type SignatureNumbers =
  | { readonly kind: 'rsa'; readonly s: Uint8Array }
  | { readonly kind: 'ecdsa'; readonly r: Uint8Array; readonly s: Uint8Array };

/**
 * Unwraps a signature: one OpenPGP packet, of version 3 (RFC 4880 §5.2.2) or 4, that says it is over `digest`.
 *
 * @throws Malformed
 */
export function decodeSigndSignature(
  packet: Uint8Array,
  hash: SigndHash,
  digest: Uint8Array,
): SignatureNumbers {
  const [first, ...more] = decodePackets(packet, 2);
  if (first === undefined || more.length > 0 || first.tag !== PACKET.signature) {
    throw new Malformed(FORMAT, 'not one OpenPGP signature');
  }
  const { algorithm, hashed, left16, numbers } =
    first.body[0] === 3 ? version3(first.body) : version4(first.body);
  if (hashed !== HASHES[hash].id) {
    throw new Malformed(FORMAT, `a signature with hash algorithm ${hashed}, not ${HASHES[hash].name}`);
  }
  if (left16 !== (((digest[0] ?? 0) << 8) | (digest[1] ?? 0))) {
    throw new Malformed(FORMAT, 'a signature over another digest');
  }
  const [one, two, ...rest] = numbers;
  if ((algorithm === 1 || algorithm === 3) && one && !two) return { kind: 'rsa', s: one };
  if (algorithm === 19 && one && two && rest.length === 0) return { kind: 'ecdsa', r: one, s: two };
  throw new Malformed(
    FORMAT,
    `${numbers.length} numbers of a signature with public-key algorithm ${algorithm}`,
  );
}

interface Fields {
  readonly algorithm: number;
  /** RFC 9580 §9.5. */
  readonly hashed: number;
  readonly left16: number;
  readonly numbers: readonly Uint8Array[];
}

function version3(body: Uint8Array): Fields {
  const cursor = new PacketCursor(body);
  cursor.octet();
  if (cursor.octet() !== 5)
    throw new Malformed(FORMAT, 'a version 3 signature that hashes other than 5 bytes');
  // Class, time and key id: as we sent them, and as the server calls its key.
  cursor.take(5 + 8);
  const algorithm = cursor.octet();
  const hashed = cursor.octet();
  const left16 = cursor.unsigned(2);
  const numbers: Uint8Array[] = [];
  while (!cursor.done && numbers.length < 3) numbers.push(cursor.mpi());
  cursor.end();
  return { algorithm, hashed, left16, numbers };
}

function version4(body: Uint8Array): Fields {
  const { algorithm, left16, mpis } = decodeSignature(body);
  return { algorithm, hashed: body[3] ?? 0, left16, numbers: mpis };
}

function lengths(parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts.map(({ length }) => u16(length)));
}

function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}
