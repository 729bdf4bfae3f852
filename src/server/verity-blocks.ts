import { open } from 'node:fs/promises';
import { Refusal } from '../errors/refusal.ts';
import type { Verity } from '../formats/records/manifest.ts';
import {
  type BlockVerdict,
  openVerity,
  type ReadHash,
  type VerityReader,
} from '../formats/verity/verity-reader.ts';
import { BLOCK_SIZE } from '../formats/verity/verity-tree.ts';
import type { PinnedFile } from '../release/pin.ts';
import type { BlockVerifier } from '../serve/nbd/nbd-verified-blocks.ts';
import { decodeOr } from '../trust/check.ts';

/**
 * Holds each block of an image against its hash tree, as the kernel of a client will. What is read of the tree is trusted no
 * more than the image, since the root hash is from the manifest.
 *
 * @param name of the tree, for sentences.
 */
export function blockVerifier({ rootHash, dataBlocks }: Verity, name: string, read: ReadHash): BlockVerifier {
  let reader: VerityReader | undefined;
  let beginning: Promise<VerityReader> | undefined;
  const begin = async (): Promise<VerityReader> => {
    try {
      const superblock = await read(0, BLOCK_SIZE);
      reader = decodeOr(name, () =>
        openVerity({ rootHash: Buffer.from(rootHash, 'hex'), dataBlocks, superblock }),
      );
      return reader;
    } finally {
      // What failed in passing is tried again.
      beginning = undefined;
    }
  };
  return (index, block) => {
    if (reader === undefined) {
      beginning ??= begin();
      return beginning.then(async (begun) => saysYes(await begun.verifyBlock(index, block, read)));
    }
    const verdict = reader.verifyBlock(index, block, read);
    return verdict instanceof Promise ? verdict.then(saysYes) : saysYes(verdict);
  };
}

function saysYes({ verified }: BlockVerdict): boolean {
  return verified;
}

/** What says that another thing, or nothing, stands where the tree was; EACCES and the like say nothing of it. */
const GONE = new Set(['ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR']);

/** A hash block is read once for each 128 blocks of the image, so it is opened for each: nothing stays open. */
export async function readTree(
  { path, name }: PinnedFile,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const handle = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    // Anything else is about this machine and passes: too many open files say nothing about the tree.
    if (!GONE.has(error.code ?? '')) throw error;
    throw new Refusal('drifted', `${name} is no longer the file that was verified: ${error.code}.`, {
      path: name,
    });
  });
  try {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await handle.read(bytes, 0, length, offset);
    return bytes.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
