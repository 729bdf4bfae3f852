import { hash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { DIGEST_SIZE } from './verity-tree.ts';

/**
 * fs-verity's file digest (Linux, Documentation/filesystems/fsverity.rst): SHA-256 of a descriptor that binds
 * the size, the algorithm and the Merkle root. Only SHA-256, blocks of 4096 bytes and no salt are written.
 */

const DESCRIPTOR_SIZE = 256;
const SHA256 = 1;
const LOG2_BLOCK_SIZE = 12;

/**
 * `struct fsverity_descriptor`, 256 bytes.
 *
 * @param size of the file, bytes.
 * @param root of the Merkle tree, 32 bytes; zeros for an empty file.
 * @throws Malformed for a root of another length.
 */
export function encodeFsVerityDescriptor(size: number, root: Uint8Array): Uint8Array {
  if (root.length !== DIGEST_SIZE)
    throw new Malformed('fs-verity descriptor', `a root of ${root.length} bytes`);
  const bytes = Buffer.alloc(DESCRIPTOR_SIZE);
  // version, hash algorithm, log2 of the block size; the size of the salt (byte 3) stays 0
  bytes.set([1, SHA256, LOG2_BLOCK_SIZE]);
  bytes.writeBigUInt64LE(BigInt(size), 8);
  bytes.set(root, 16);
  return bytes;
}

/** What `fsverity digest` prints, as 32 bytes. Parameters as for `encodeFsVerityDescriptor`. */
export function fsVerityDigest(size: number, root: Uint8Array): Uint8Array {
  return new Uint8Array(hash('sha256', encodeFsVerityDescriptor(size, root), 'buffer'));
}
