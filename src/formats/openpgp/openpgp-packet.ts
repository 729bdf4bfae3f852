import { Malformed } from '../../errors/malformed.ts';

/** OpenPGP packets (RFC 9580 §4): headers of both kinds, whole lengths only. */

export const PACKET = {
  signature: 2,
  secretKey: 5,
  publicKey: 6,
  secretSubkey: 7,
  marker: 10,
  trust: 12,
  userId: 13,
  publicSubkey: 14,
  userAttribute: 17,
  padding: 21,
} as const;

export interface Packet {
  readonly tag: number;
  readonly body: Uint8Array;
  /** Header and body. */
  readonly raw: Uint8Array;
}

/**
 * Decodes a whole sequence of packets, nothing left over. Throws `Malformed`.
 *
 * Partial and indeterminate lengths are refused: they exist for streamed data packets, and none belongs into a
 * detached signature or a certificate.
 *
 * @param limit most packets accepted.
 */
export function decodePackets(bytes: Uint8Array, limit: number): Packet[] {
  const packets: Packet[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (packets.length === limit) throw new Malformed('OpenPGP', `more than ${limit} packets`, at);
    const packet = packetAt(bytes, at);
    packets.push(packet);
    at += packet.raw.length;
  }
  return packets;
}

/** The packet that bytes begin with; undefined where they begin with none that `decodePackets` takes. */
export function firstPacket(bytes: Uint8Array): Packet | undefined {
  try {
    return packetAt(bytes, 0);
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

function packetAt(bytes: Uint8Array, start: number): Packet {
  let at = start;
  const first = need(bytes, at++);
  if (!(first & 0x80)) throw new Malformed('OpenPGP', 'no packet header', start);
  let tag: number;
  let length: number;
  if (first & 0x40) {
    tag = first & 0x3f;
    const octet = need(bytes, at++);
    if (octet < 192) length = octet;
    else if (octet < 224) length = ((octet - 192) << 8) + need(bytes, at++) + 192;
    else if (octet === 255) {
      length = unsigned(bytes, at, 4);
      at += 4;
    } else throw new Malformed('OpenPGP', 'partial length', start);
  } else {
    tag = (first >> 2) & 0x0f;
    const kind = first & 3;
    if (kind === 3) throw new Malformed('OpenPGP', 'indeterminate length', start);
    const octets = [1, 2, 4][kind] ?? 1;
    length = unsigned(bytes, at, octets);
    at += octets;
  }
  if (at + length > bytes.length) throw new Malformed('OpenPGP', 'packet runs past the end', start);
  return { tag, body: bytes.subarray(at, at + length), raw: bytes.subarray(start, at + length) };
}

/**
 * Encodes one packet with an old-format header (RFC 9580 §4.2.2). GRUB 2.06 misreads the two-octet lengths
 * of new-format headers, and every other reader takes the old ones too.
 */
export function encodePacket(tag: number, body: Uint8Array): Uint8Array {
  if (tag > 15) throw new Malformed('OpenPGP', `packet type ${tag} has no old-format header`);
  const kind = body.length < 0x100 ? 0 : body.length < 0x10000 ? 1 : 2;
  const header = Buffer.alloc(1 + (1 << kind));
  header[0] = 0x80 | (tag << 2) | kind;
  header.writeUIntBE(body.length, 1, 1 << kind);
  return Buffer.concat([header, body]);
}

/** A cursor over the fields of one packet's body. */
export class PacketCursor {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Bytes consumed so far. */
  get at(): number {
    return this.#at;
  }

  octet(): number {
    return need(this.#bytes, this.#at++);
  }

  /** Big-endian unsigned integer of 2 or 4 bytes. */
  unsigned(octets: 2 | 4): number {
    const value = unsigned(this.#bytes, this.#at, octets);
    this.#at += octets;
    return value;
  }

  take(octets: number): Uint8Array {
    if (this.#at + octets > this.#bytes.length) throw new Malformed('OpenPGP', 'ends in mid-field', this.#at);
    this.#at += octets;
    return this.#bytes.subarray(this.#at - octets, this.#at);
  }

  /** Multiprecision integer (RFC 9580 §3.2) without its length; leading zeros are refused. */
  mpi(): Uint8Array {
    const bits = this.unsigned(2);
    const value = this.take((bits + 7) >> 3);
    const top = value[0];
    if (top !== undefined && top >> ((bits - 1) & 7) !== 1) {
      throw new Malformed('OpenPGP', 'MPI length is not that of its value', this.#at);
    }
    return value;
  }

  end(): void {
    if (!this.done) throw new Malformed('OpenPGP', 'trailing bytes in a packet', this.#at);
  }
}

/** The number that the bytes of an MPI stand for. */
export function mpiNumber(octets: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(octets).toString('hex') || '0'}`);
}

export function encodeMpi(value: Uint8Array): Uint8Array {
  let start = 0;
  while (start < value.length && value[start] === 0) start++;
  const trimmed = value.subarray(start);
  const bits = trimmed.length === 0 ? 0 : trimmed.length * 8 - Math.clz32(trimmed[0] ?? 0) + 24;
  return Buffer.concat([Uint8Array.of(bits >> 8, bits & 0xff), trimmed]);
}

function need(bytes: Uint8Array, at: number): number {
  const octet = bytes[at];
  if (octet === undefined) throw new Malformed('OpenPGP', 'ends in mid-field', at);
  return octet;
}

function unsigned(bytes: Uint8Array, at: number, octets: number): number {
  let value = 0;
  for (let i = 0; i < octets; i++) value = value * 256 + need(bytes, at + i);
  return value;
}
