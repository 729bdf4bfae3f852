import { createHash } from 'node:crypto';
import { BLOCK_SIZE } from '../../../src/formats/verity/verity-tree.ts';

/** Content of which no two blocks are alike, so that every mistake of order shows. */
export function content(size: number): Buffer {
  const bytes = Buffer.alloc(size, 'bootseal');
  for (let at = 0; at < size; at += BLOCK_SIZE) {
    bytes.write(String(at / BLOCK_SIZE).slice(0, Math.min(16, size - at)), at, 'latin1');
  }
  return bytes;
}

/** The block of this number, whole. */
export function blockOf(bytes: Buffer, index: number): Buffer {
  return bytes.subarray(index * BLOCK_SIZE, (index + 1) * BLOCK_SIZE);
}

/** Root of a tree over all of the content, its last block filled with zeros: the rule, said as plainly as can be. */
export function plainRoot(bytes: Buffer): Buffer {
  if (bytes.length === 0) return Buffer.alloc(32);
  const padded = Buffer.concat([
    bytes,
    Buffer.alloc((BLOCK_SIZE - (bytes.length % BLOCK_SIZE)) % BLOCK_SIZE),
  ]);
  const digests = Buffer.concat(
    Array.from({ length: padded.length / BLOCK_SIZE }, (_, index) =>
      createHash('sha256').update(blockOf(padded, index)).digest(),
    ),
  );
  return digests.length === 32 ? digests : plainRoot(digests);
}
