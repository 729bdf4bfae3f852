import { PACKET } from '../../formats/openpgp/openpgp-packet.ts';

/** PEM and OpenPGP's armor alike, encrypted or not, cut short or not. */
const LABEL = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY/;
/** PKCS #5 and PKCS #12 encryption (1.2.840.113549.1.5, .12.1), as the first thing of an EncryptedPrivateKeyInfo. */
const ENCRYPTED = [Buffer.from('2a864886f70d0105', 'hex'), Buffer.from('2a864886f70d010c01', 'hex')];
const [SEQUENCE, INTEGER, OID] = [0x30, 0x02, 0x06];

/**
 * Whether these bytes are a private key, or hold one: PEM, OpenPGP, or DER (PKCS #1, #8, #12, SEC 1). They may
 * be cut short; what is a key in part must not be shown in part.
 */
export function holdsPrivateKey(bytes: Uint8Array): boolean {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return isSecretPacket(buffer[0] ?? 0) || isPrivateDer(buffer) || LABEL.test(buffer.toString('latin1'));
}

/** The header of an OpenPGP packet, old or new, that holds a secret key. */
function isSecretPacket(header: number): boolean {
  if (!(header & 0x80)) return false;
  const tag = header & 0x40 ? header & 0x3f : (header >> 2) & 0x0f;
  return tag === PACKET.secretKey || tag === PACKET.secretSubkey;
}

/**
 * Every private key in DER begins with its version, a small INTEGER; an encrypted one with its algorithm. The
 * lengths are not looked at: they may run past the end.
 */
function isPrivateDer(bytes: Buffer): boolean {
  if (bytes[0] !== SEQUENCE) return false;
  const inner = contentOf(bytes);
  if (inner[0] === INTEGER) return inner[1] === 1 && (inner[2] ?? 0) <= 3;
  if (inner[0] !== SEQUENCE) return false;
  const algorithm = contentOf(inner);
  return algorithm[0] === OID && ENCRYPTED.some((oid) => algorithm.subarray(2, 2 + oid.length).equals(oid));
}

function contentOf(bytes: Buffer): Buffer {
  const length = bytes[1] ?? 0;
  return bytes.subarray(length < 0x80 ? 2 : 2 + (length & 0x7f));
}
