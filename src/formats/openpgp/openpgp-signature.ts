import { Malformed } from '../../errors/malformed.ts';
import { isArmored, pemLabels } from '../asn1/armor-in-text.ts';
import type { HashName } from '../asn1/oids.ts';
import {
  decodePackets,
  encodeMpi,
  encodePacket,
  firstPacket,
  PACKET,
  PacketCursor,
} from './openpgp-packet.ts';

/** OpenPGP signature packets, version 4 (RFC 9580 §5.2.3). */

export interface OpenpgpSignature {
  /** 0x00 binary document, 0x10–0x13 certifications, 0x18 subkey binding, 0x20 key revocation … */
  readonly type: number;
  readonly algorithm: number;
  readonly hash: HashName;
  /** From the version byte to the end of the hashed subpackets. */
  readonly hashed: Uint8Array;
  readonly subpackets: readonly Subpacket[];
  /** Issuer's fingerprint (33, hashed or not), 40 lower-case hex digits. A hint, not a fact. */
  readonly issuerFingerprint: string | undefined;
  /** Issuer's key id (16), 16 lower-case hex digits. A hint, not a fact. */
  readonly issuerKeyId: string | undefined;
  /** Milliseconds since 1970; the signature's own claim (subpacket 2, hashed). */
  readonly created: number | undefined;
  /** Seconds after `created`; 0 and absent mean never (subpacket 3). */
  readonly expiresAfter: number | undefined;
  /** The first 16 bits of the digest: lets a reader skip wrong keys early. */
  readonly left16: number;
  /** RSA: one number; EdDSA: R and S. */
  readonly mpis: readonly Uint8Array[];
}

export interface Subpacket {
  readonly type: number;
  readonly critical: boolean;
  readonly hashed: boolean;
  readonly body: Uint8Array;
}

/** RFC 9580 §9.5. */
const HASHES: Readonly<Record<number, HashName>> = {
  1: 'md5',
  2: 'sha1',
  8: 'sha256',
  9: 'sha384',
  10: 'sha512',
  11: 'sha224',
};

export const SUBPACKET = {
  creationTime: 2,
  expirationTime: 3,
  keyExpirationTime: 9,
  issuerKeyId: 16,
  notation: 20,
  primaryUserId: 25,
  keyFlags: 27,
  revocationReason: 29,
  embeddedSignature: 32,
  issuerFingerprint: 33,
} as const;

/** A detached signature is a few hundred bytes; sixteen signers are more than any policy asks. */
const MAX_SIGNATURE_FILE = 64 * 1024;
const MAX_SIGNATURES = 16;

/**
 * Decodes a detached signature file: one or more signature packets and nothing else.
 *
 * An *opaque* signed message (one-pass signature, literal data) makes `gpg --verify FILE.sig` verify the
 * message inside and never look at FILE. Here it is malformed.
 */
export function decodeDetachedOpenpgp(bytes: Uint8Array): OpenpgpSignature[] {
  if (bytes.length === 0) throw new Malformed('OpenPGP', 'empty signature file');
  if (isArmored(bytes) && pemLabels(bytes).some((label) => label.startsWith('PGP '))) {
    throw new Malformed('OpenPGP', 'armored; "gpg --dearmor" writes it in the binary form that GRUB reads');
  }
  if (bytes.length > MAX_SIGNATURE_FILE)
    throw new Malformed('OpenPGP', `signature file of ${bytes.length} bytes`);
  return decodePackets(bytes, MAX_SIGNATURES).map((packet) => {
    if (packet.tag !== PACKET.signature) {
      throw new Malformed('OpenPGP', `packet type ${packet.tag} in a detached signature`);
    }
    return decodeSignature(packet.body);
  });
}

/**
 * The signature packets that a file begins with, each as it stands. gpg reports on them whatever comes behind.
 *
 * @throws Malformed where it begins with anything else.
 */
export function leadingSignatures(bytes: Uint8Array): Uint8Array[] {
  const signatures: Uint8Array[] = [];
  let rest = bytes;
  while (rest.length > 0 && signatures.length < MAX_SIGNATURES) {
    const packet = firstPacket(rest);
    if (packet?.tag !== PACKET.signature) break;
    signatures.push(packet.raw);
    rest = rest.subarray(packet.raw.length);
  }
  if (signatures.length === 0) throw new Malformed('OpenPGP', 'does not begin with a signature');
  return signatures;
}

/** Decodes the body of a signature packet. Throws `Malformed`. */
export function decodeSignature(body: Uint8Array): OpenpgpSignature {
  const cursor = new PacketCursor(body);
  const version = cursor.octet();
  if (version !== 4) throw new Malformed('OpenPGP', `signature version ${version}, not 4`);
  const type = cursor.octet();
  const algorithm = cursor.octet();
  const hashId = cursor.octet();
  const hash = HASHES[hashId];
  if (!hash) throw new Malformed('OpenPGP', `unknown hash algorithm ${hashId}`);
  const hashedArea = cursor.take(cursor.unsigned(2));
  const hashed = body.subarray(0, cursor.at);
  const unhashedArea = cursor.take(cursor.unsigned(2));
  const left16 = cursor.unsigned(2);
  const mpis: Uint8Array[] = [];
  // Ed25519 (27) and its sisters carry native bytes; everything older MPIs.
  if (algorithm === 27) mpis.push(cursor.take(64));
  else while (!cursor.done && mpis.length < 4) mpis.push(cursor.mpi());
  cursor.end();
  const subpackets = [...decodeSubpackets(hashedArea, true), ...decodeSubpackets(unhashedArea, false)];
  const fingerprint = find(subpackets, SUBPACKET.issuerFingerprint)?.body;
  return {
    type,
    algorithm,
    hash,
    hashed,
    subpackets,
    issuerFingerprint: fingerprint?.[0] === 4 ? hex(fingerprint.subarray(1)) : undefined,
    issuerKeyId: issuerKeyId(subpackets),
    created: seconds(subpackets, SUBPACKET.creationTime, 1000),
    expiresAfter: seconds(subpackets, SUBPACKET.expirationTime, 1),
    left16,
    mpis,
  };
}

/** What a signature says of itself, whether or not it could be verified. */
export interface SignatureClaim {
  /** Undefined where the packet is too short to say. */
  readonly type: number | undefined;
  /** Hex digits; neither of the two where it cannot be read, or names nobody. */
  readonly issuerFingerprint: string | undefined;
  readonly issuerKeyId: string | undefined;
  /** Milliseconds since 1970. */
  readonly created: number | undefined;
}

/**
 * Reads what can be read of a signature packet's body that `decodeSignature` refuses: version 3, unknown
 * algorithms, torn fields. Never throws.
 */
export function readSignatureClaim(body: Uint8Array): SignatureClaim {
  const [version, type] = body;
  if (version === 2 || version === 3) {
    // Length of the hashed fields (always 5), type, time, key id (RFC 4880 §5.2.2).
    const whole = body.length >= 15;
    return {
      type: body[2],
      issuerFingerprint: undefined,
      issuerKeyId: whole ? hex(body.subarray(7, 15)) : undefined,
      created: whole ? Buffer.from(body).readUInt32BE(3) * 1000 : undefined,
    };
  }
  let subpackets: Subpacket[] = [];
  try {
    const cursor = new PacketCursor(body);
    cursor.take(4);
    const octets = version === 6 ? 4 : 2;
    const hashedArea = cursor.take(cursor.unsigned(octets));
    subpackets = decodeSubpackets(hashedArea, true);
    subpackets = [...subpackets, ...decodeSubpackets(cursor.take(cursor.unsigned(octets)), false)];
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
  }
  const fingerprint = find(subpackets, SUBPACKET.issuerFingerprint)?.body;
  return {
    type,
    // Of whatever version: a stranger's is a stranger's.
    issuerFingerprint: fingerprint && hex(fingerprint.subarray(1)),
    issuerKeyId: issuerKeyId(subpackets),
    created: seconds(subpackets, SUBPACKET.creationTime, 1000),
  };
}

function issuerKeyId(subpackets: readonly Subpacket[]): string | undefined {
  const body = find(subpackets, SUBPACKET.issuerKeyId)?.body;
  return body?.length === 8 ? hex(body) : undefined;
}

function decodeSubpackets(area: Uint8Array, hashed: boolean): Subpacket[] {
  const cursor = new PacketCursor(area);
  const subpackets: Subpacket[] = [];
  while (!cursor.done) {
    const first = cursor.octet();
    const length =
      first < 192 ? first : first < 255 ? ((first - 192) << 8) + cursor.octet() + 192 : cursor.unsigned(4);
    if (length === 0) throw new Malformed('OpenPGP', 'empty subpacket');
    const octets = cursor.take(length);
    const type = octets[0] ?? 0;
    subpackets.push({ type: type & 0x7f, critical: (type & 0x80) !== 0, hashed, body: octets.subarray(1) });
  }
  return subpackets;
}

/**
 * The key id by which GRUB looks for the key (grub-core/commands/pgp.c): the last issuer subpacket (16) of the
 * unhashed area, without the critical bit. 16 lower-case hex digits; undefined where there is none.
 */
export function grubKeyId({ subpackets }: OpenpgpSignature): string | undefined {
  const found = subpackets.findLast(
    ({ type, critical, hashed }) => type === SUBPACKET.issuerKeyId && !critical && !hashed,
  );
  return found?.body.length === 8 ? hex(found.body) : undefined;
}

/** Whether the digest begins as the signature says. gpgv does not ask; GRUB does. */
export function hasLeft16({ left16 }: OpenpgpSignature, digest: Uint8Array): boolean {
  return left16 === (((digest[0] ?? 0) << 8) | (digest[1] ?? 0));
}

/** The first subpacket of a type, hashed ones before unhashed. */
export function find(subpackets: readonly Subpacket[], type: number): Subpacket | undefined {
  return subpackets.find((subpacket) => subpacket.type === type);
}

/** A four-octet number from the hashed area only: what is not hashed, anyone may have written. */
function seconds(subpackets: readonly Subpacket[], type: number, scale: number): number | undefined {
  const body = subpackets.find((subpacket) => subpacket.type === type && subpacket.hashed)?.body;
  return body?.length === 4 ? Buffer.from(body).readUInt32BE() * scale : undefined;
}

/** What a signature hashes after its content (RFC 9580 §5.2.4): the hashed fields and their length. */
export function signatureTrailer(hashed: Uint8Array): Uint8Array {
  const tail = Buffer.alloc(6);
  tail[0] = 4;
  tail[1] = 0xff;
  tail.writeUInt32BE(hashed.length, 2);
  return Buffer.concat([hashed, tail]);
}

/**
 * The hashed fields of a binary document signature by an RSA key, SHA-512: issuer fingerprint (33) and
 * creation time (2), no notation, in the order gpg writes them.
 */
export function documentSignatureFields(fingerprint: string, created: number): Uint8Array {
  const time = Buffer.alloc(4);
  time.writeUInt32BE(Math.floor(created / 1000));
  const area = Buffer.concat([
    Uint8Array.of(22, SUBPACKET.issuerFingerprint, 4),
    Buffer.from(fingerprint, 'hex'),
    Uint8Array.of(5, SUBPACKET.creationTime),
    time,
  ]);
  return Buffer.concat([Uint8Array.of(4, 0x00, 1, 10, area.length >> 8, area.length & 0xff), area]);
}

/**
 * Assembles the signature packet. The issuer's key id (16) stands in the *unhashed* area: GRUB looks for it
 * nowhere else.
 */
export function encodeSignature(
  hashed: Uint8Array,
  keyId: string,
  digest: Uint8Array,
  mpi: Uint8Array,
): Uint8Array {
  const unhashed = Buffer.concat([Uint8Array.of(0, 10, 9, SUBPACKET.issuerKeyId), Buffer.from(keyId, 'hex')]);
  return encodePacket(
    PACKET.signature,
    Buffer.concat([hashed, unhashed, digest.subarray(0, 2), encodeMpi(mpi)]),
  );
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
