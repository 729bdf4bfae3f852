import { createHash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { decodePackets, PACKET } from './openpgp-packet.ts';

/**
 * GnuPG's keybox, `pubring.kbx` (the layout is told at the top of gnupg's kbx/keybox-blob.c). Integers are
 * big-endian, offsets count from the beginning of their blob.
 */

const FORMAT = 'keybox';
/** GnuPG's own limit for one blob. */
const BLOB_LIMIT = 5 * 2 ** 20;
const FILE_LIMIT = 64 * 2 ** 20;
const PACKET_LIMIT = 10_000;
const HEADER_OCTETS = 32;
const CHECKSUM_OCTETS = 20;

const BLOB = { deleted: 0, header: 1, openpgp: 2, x509: 3 } as const;
const FLAG = { secret: 1, ephemeral: 2 } as const;
/** Bytes that describe one key, by blob version: 2 came with the longer fingerprints of GnuPG 2.3. */
const KEY_INFO: Readonly<Record<number, number>> = { 1: 28, 2: 56 };

class Blob {
  readonly type: number;
  readonly version: number;
  readonly bytes: Buffer;
  readonly offset: number;

  constructor(bytes: Uint8Array, offset: number) {
    this.bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.offset = offset;
    this.type = bytes[4] ?? -1;
    this.version = bytes[5] ?? -1;
  }

  fail(fact: string): Malformed {
    return new Malformed(FORMAT, fact, this.offset);
  }
}

function splitBlobs(bytes: Uint8Array): Blob[] {
  if (bytes.length > FILE_LIMIT) throw new Malformed(FORMAT, `longer than ${FILE_LIMIT} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const blobs: Blob[] = [];
  for (let at = 0; at < bytes.length; ) {
    const left = bytes.length - at;
    const length = left < 4 ? 0 : view.getUint32(at);
    if (length < HEADER_OCTETS || length > left || length > BLOB_LIMIT) {
      throw new Malformed(FORMAT, 'blob of no possible length', at);
    }
    blobs.push(new Blob(bytes.subarray(at, at + length), at));
    at += length;
  }
  return blobs;
}

function demandHeader(blob: Blob | undefined): void {
  if (blob === undefined) throw new Malformed(FORMAT, 'empty');
  if (blob.type !== BLOB.header || blob.bytes.toString('latin1', 8, 12) !== 'KBXf') {
    throw blob.fail('does not begin with a keybox header');
  }
  if (blob.version !== 1 || blob.bytes.length !== HEADER_OCTETS) throw blob.fail('unknown header version');
}

export function isKeybox(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.subarray(8, 12)).toString('latin1') === 'KBXf';
}

/** Whether there are certificates of gpgsm's in it. Throws `Malformed`. */
export function holdsX509(bytes: Uint8Array): boolean {
  return splitBlobs(bytes).some(({ type }) => type === BLOB.x509);
}

/** The keyblock of an OpenPGP blob, as gpg stores it. */
function keyblock(blob: Blob): Uint8Array {
  const { bytes } = blob;
  const infoSize = KEY_INFO[blob.version];
  if (infoSize === undefined) throw blob.fail(`unknown blob version ${blob.version}`);
  const body = bytes.length - CHECKSUM_OCTETS;
  // GnuPG writes this checksum and never looks at it again; damage on the way shows here.
  const digest = createHash('sha1').update(bytes.subarray(0, body)).digest();
  if (!digest.equals(bytes.subarray(body))) throw blob.fail('checksum does not match');
  const start = bytes.readUInt32BE(8);
  const length = bytes.readUInt32BE(12);
  const keys = bytes.readUInt16BE(16);
  if (keys === 0 || bytes.readUInt16BE(18) !== infoSize) throw blob.fail('odd key information');
  if (start < 20 + keys * infoSize || length > body - start) throw blob.fail('keyblock out of bounds');
  return bytes.subarray(start, start + length);
}

/**
 * A transferable public key (RFC 9580 §10.1) out of a keyblock. gpg keeps trust packets between the others,
 * its private notes; an export leaves them out, and so does this.
 */
function transferableKey(blob: Blob): Uint8Array {
  const packets = decodePackets(keyblock(blob), PACKET_LIMIT);
  if (packets[0]?.tag !== PACKET.publicKey) throw blob.fail('keyblock without a public key');
  const keys = packets.filter(({ tag }) => tag === PACKET.publicKey).length;
  if (keys > 1) throw blob.fail('keyblock with two primary keys');
  if (packets.some(({ tag }) => tag === PACKET.secretKey || tag === PACKET.secretSubkey)) {
    throw blob.fail('secret key in a keybox');
  }
  return Buffer.concat(packets.filter(({ tag }) => tag !== PACKET.trust).map(({ raw }) => raw));
}

/**
 * The OpenPGP keys of a keybox in its order, each as bytes of a transferable public key. As gpg does, it
 * passes over deleted and ephemeral blobs and gpgsm's X.509 blobs; anything else it does not know is
 * `Malformed`.
 */
export function decodeKeybox(bytes: Uint8Array): Uint8Array[] {
  const [header, ...blobs] = splitBlobs(bytes);
  demandHeader(header);
  const keys: Uint8Array[] = [];
  for (const blob of blobs) {
    if (blob.type === BLOB.deleted || blob.type === BLOB.x509) continue;
    if (blob.type !== BLOB.openpgp) throw blob.fail(`unknown blob type ${blob.type}`);
    const flags = blob.bytes.readUInt16BE(6);
    if (flags & FLAG.secret) throw blob.fail('secret key in a keybox');
    if (flags & FLAG.ephemeral) continue;
    keys.push(transferableKey(blob));
  }
  return keys;
}
