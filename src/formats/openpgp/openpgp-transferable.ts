import { Malformed } from '../../errors/malformed.ts';
import { keylessPackets } from './gnupg-file.ts';
import { decodePackets, encodePacket, PACKET, type Packet, PacketCursor } from './openpgp-packet.ts';
import { decodeSignature, SUBPACKET } from './openpgp-signature.ts';

/** Transferable public keys (RFC 9580 §10.1): packets as they belong together, nothing verified. */

/** A key, user id or user attribute, and the signature packets that follow it. */
export interface Part {
  readonly packet: Packet;
  readonly signatures: readonly Packet[];
}

/** The first part is the primary key. */
export type TransferableKey = readonly [Part, ...Part[]];

/** Notes that programs leave between packets, and filling: no part of any key. */
const PASSED_OVER: ReadonlySet<number> = new Set([PACKET.marker, PACKET.trust, PACKET.padding]);

/**
 * Splits a binary keyring into its keys. Throws `Malformed` where the packets do not follow one another, and
 * for a secret key: whoever hands one out must hear of it.
 *
 * @param limit most packets accepted.
 */
export function splitTransferableKeys(bytes: Uint8Array, limit: number): TransferableKey[] {
  const keys: [Part & { signatures: Packet[] }, ...(Part & { signatures: Packet[] })[]][] = [];
  for (const packet of decodePackets(bytes, limit)) {
    if (packet.tag === PACKET.secretKey || packet.tag === PACKET.secretSubkey) {
      throw new Malformed(
        'OpenPGP',
        'a secret key among public ones; "gpg --export > FILE" writes these alone',
      );
    }
    if (PASSED_OVER.has(packet.tag)) continue;
    const key = keys.at(-1);
    if (packet.tag === PACKET.publicKey) keys.push([{ packet, signatures: [] }]);
    else if (!key) throw new Malformed('OpenPGP', keylessPackets(packet));
    else if (packet.tag === PACKET.signature) key.at(-1)?.signatures.push(packet);
    else key.push({ packet, signatures: [] });
  }
  return keys;
}

/** Encodes parts with old-format packet headers, which GRUB reads too. */
export function encodeTransferableKey(parts: readonly Part[]): Uint8Array {
  return Buffer.concat(
    parts.flatMap(({ packet, signatures }) =>
      [packet, ...signatures].map(({ tag, body }) => encodePacket(tag, body)),
    ),
  );
}

/**
 * The body of a signature without what anybody may have written into its unhashed area: there remain the
 * issuer's key id, which old readers look for nowhere else, and the embedded signature, where it is not
 * hashed (as gpg makes it). Throws `Malformed`.
 *
 * @param keyId 16 hex digits.
 */
export function trimSignature(body: Uint8Array, keyId: string): Uint8Array {
  const { hashed, subpackets } = decodeSignature(body);
  const cursor = new PacketCursor(body);
  cursor.take(hashed.length);
  cursor.take(cursor.unsigned(2));
  const embedded = subpackets.find(({ type }) => type === SUBPACKET.embeddedSignature);
  const unhashed = Buffer.concat([
    encodeSubpacket(SUBPACKET.issuerKeyId, Buffer.from(keyId, 'hex')),
    ...(embedded && !embedded.hashed ? [encodeSubpacket(SUBPACKET.embeddedSignature, embedded.body)] : []),
  ]);
  return Buffer.concat([
    hashed,
    Uint8Array.of(unhashed.length >> 8, unhashed.length & 0xff),
    unhashed,
    body.subarray(cursor.at),
  ]);
}

/** RFC 9580 §5.2.3.7. The length counts the type, and takes one, two or five bytes. */
function encodeSubpacket(type: number, body: Uint8Array): Uint8Array {
  const length = body.length + 1;
  if (length < 192) return Buffer.concat([Uint8Array.of(length, type), body]);
  if (length < 8384) {
    const rest = length - 192;
    return Buffer.concat([Uint8Array.of((rest >> 8) + 192, rest & 0xff, type), body]);
  }
  const header = Buffer.alloc(6, 0xff);
  header.writeUInt32BE(length, 1);
  header[5] = type;
  return Buffer.concat([header, body]);
}
