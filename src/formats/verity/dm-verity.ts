import { Malformed } from '../../errors/malformed.ts';
import { BLOCK_SIZE, DIGEST_SIZE, levelLengths } from './verity-tree.ts';

/**
 * dm-verity's superblock, version 1 with hash type 1 (cryptsetup wiki, "DMVerity", on-disk format), and the
 * root hash that stands beside it.
 *
 * Only SHA-256 and blocks of 4096 bytes exist here. The superblock fills the hash device's first block, and
 * nothing authenticates it: what it says of the number of blocks is believed by the kernel, so a verifier
 * takes that number from what was signed (`verity-reader.ts`).
 */
export interface VeritySuperblock {
  /** Lower case, 8-4-4-4-12. */
  readonly uuid: string;
  /** At least one. */
  readonly dataBlocks: number;
  /** 0 to 256 bytes. Ours is always empty. */
  readonly salt: Uint8Array;
}

/** So that every offset in the data is an exact number. */
export const MAX_DATA_BLOCKS = Math.floor(Number.MAX_SAFE_INTEGER / BLOCK_SIZE);

/** Bytes of the hash device over `dataBlocks` blocks (at least one): the superblock's block, then each level. */
export function hashDeviceSize(dataBlocks: number): number {
  return (1 + levelLengths(dataBlocks).reduce((sum, length) => sum + length, 0)) * BLOCK_SIZE;
}

const FORMAT = 'dm-verity superblock';
const MAGIC = Buffer.from('verity\0\0', 'latin1');
const ALGORITHM = Buffer.from('sha256', 'latin1');
const VERSION = 1;
/** Salt before the block, digests without gaps. Type 0 is Chrome OS's first. */
const HASH_TYPE = 1;
const MAX_SALT = 256;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** The hash device's first block, 4096 bytes. @throws Malformed for a value that has no encoding. */
export function encodeSuperblock({ uuid, dataBlocks, salt }: VeritySuperblock): Uint8Array {
  if (!UUID.test(uuid)) throw new Malformed(FORMAT, `UUID ${JSON.stringify(uuid)}`);
  if (!Number.isInteger(dataBlocks) || dataBlocks < 1 || dataBlocks > MAX_DATA_BLOCKS) {
    throw new Malformed(FORMAT, `${dataBlocks} data blocks`);
  }
  if (salt.length > MAX_SALT) throw new Malformed(FORMAT, `a salt of ${salt.length} bytes`);
  const bytes = Buffer.alloc(BLOCK_SIZE);
  bytes.set(MAGIC, 0);
  bytes.writeUInt32LE(VERSION, 8);
  bytes.writeUInt32LE(HASH_TYPE, 12);
  bytes.write(uuid.replaceAll('-', ''), 16, 'hex');
  bytes.set(ALGORITHM, 32);
  bytes.writeUInt32LE(BLOCK_SIZE, 64);
  bytes.writeUInt32LE(BLOCK_SIZE, 68);
  bytes.writeBigUInt64LE(BigInt(dataBlocks), 72);
  bytes.writeUInt16LE(salt.length, 80);
  bytes.set(salt, 88);
  return bytes;
}

/**
 * Reads a hash device's first block, all 4096 bytes of it. Stricter than the kernel: whatever the fields leave
 * over must be zeros. @throws Malformed
 */
export function decodeSuperblock(block: Uint8Array): VeritySuperblock {
  if (block.length !== BLOCK_SIZE) throw new Malformed(FORMAT, `${block.length} bytes, not ${BLOCK_SIZE}`);
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.length);
  const dataBlocks = bytes.readBigUInt64LE(72);
  if (dataBlocks < 1n || dataBlocks > MAX_DATA_BLOCKS)
    throw new Malformed(FORMAT, `${dataBlocks} data blocks`, 72);
  const saltSize = bytes.readUInt16LE(80);
  if (saltSize > MAX_SALT) throw new Malformed(FORMAT, `a salt of ${saltSize} bytes`, 80);
  const superblock = {
    uuid: uuidText(bytes.subarray(16, 32)),
    dataBlocks: Number(dataBlocks),
    salt: Uint8Array.from(bytes.subarray(88, 88 + saltSize)),
  };
  // Every other byte has one value that is understood, so what was not read is compared.
  const canonical = encodeSuperblock(superblock);
  const odd = bytes.findIndex((octet, at) => octet !== canonical[at]);
  if (odd >= 0) throw new Malformed(FORMAT, fieldAt(odd), odd);
  return superblock;
}

const FIELDS: readonly [end: number, name: string][] = [
  [8, 'no magic'],
  [12, 'version is not 1'],
  [16, 'hash type is not 1'],
  [64, 'hash algorithm is not sha256'],
  [68, `data block size is not ${BLOCK_SIZE}`],
  [72, `hash block size is not ${BLOCK_SIZE}`],
];

function fieldAt(offset: number): string {
  return FIELDS.find(([end]) => offset < end)?.[1] ?? 'padding is not zeros';
}

/**
 * The UUID of a tree, so that sealing twice gives the same bytes: the first 16 bytes of the root hash as a
 * UUID of version 8, its version and variant bits set (RFC 9562 §5.8).
 */
export function verityUuid(rootHash: Uint8Array): string {
  demandRootHash(rootHash);
  const bytes = Buffer.from(rootHash.subarray(0, 16));
  bytes.writeUInt8(0x80 | (bytes.readUInt8(6) & 0x0f), 6);
  bytes.writeUInt8(0x80 | (bytes.readUInt8(8) & 0x3f), 8);
  return uuidText(bytes);
}

function uuidText(bytes: Buffer): string {
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/**
 * Content of `F.roothash`: 64 bytes of lower-case hex and no newline, since these very bytes are what
 * `F.roothash.cms.sig` signs (systemd's and cryptsetup's convention).
 */
export function encodeRootHash(rootHash: Uint8Array): Uint8Array {
  demandRootHash(rootHash);
  return Buffer.from(Buffer.from(rootHash).toString('hex'), 'latin1');
}

/** The 32 bytes that `F.roothash` spells. @throws Malformed */
export function decodeRootHash(bytes: Uint8Array): Uint8Array {
  const text = bytes.length === 2 * DIGEST_SIZE ? Buffer.from(bytes).toString('latin1') : '';
  if (!/^[0-9a-f]{64}$/.test(text)) throw new Malformed('root hash', 'not 64 lower-case hexadecimal digits');
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

function demandRootHash(rootHash: Uint8Array): void {
  if (rootHash.length !== DIGEST_SIZE) throw new Malformed('root hash', `${rootHash.length} bytes`);
}
