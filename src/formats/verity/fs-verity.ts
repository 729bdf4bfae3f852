import { hash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import { DIGEST_SIZE } from './verity-tree.ts';

/**
 * fs-verity's file digest (Linux, Documentation/filesystems/fsverity.rst): SHA-256 of a descriptor that binds
 * the size, the algorithm and the Merkle root. Only SHA-256, blocks of 4096 octets and no salt are written.
 */

const DESCRIPTOR_SIZE = 256;
const SHA256 = 1;
const LOG2_BLOCK_SIZE = 12;

/**
 * `struct fsverity_descriptor`, 256 octets.
 *
 * @param size of the file, octets.
 * @param root of the Merkle tree, 32 octets; zeros for an empty file.
 * @throws Malformed for a root of another length.
 */
export function encodeFsVerityDescriptor(size: number, root: Uint8Array): Uint8Array {
  if (root.length !== DIGEST_SIZE)
    throw new Malformed('fs-verity descriptor', `a root of ${root.length} octets`);
  const bytes = Buffer.alloc(DESCRIPTOR_SIZE);
  // version, hash algorithm, log2 of the block size; the size of the salt (octet 3) stays 0
  bytes.set([1, SHA256, LOG2_BLOCK_SIZE]);
  bytes.writeBigUInt64LE(BigInt(size), 8);
  bytes.set(root, 16);
  return bytes;
}

/** What `fsverity digest` prints, as 32 octets. Parameters as for `encodeFsVerityDescriptor`. */
export function fsVerityDigest(size: number, root: Uint8Array): Uint8Array {
  return new Uint8Array(hash('sha256', encodeFsVerityDescriptor(size, root), 'buffer'));
}
