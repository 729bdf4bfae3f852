import { hash } from 'node:crypto';
import { Malformed } from '../../errors/malformed.ts';
import type { Verity } from '../../formats/records/manifest.ts';
import { VERITY } from '../../formats/records/seal-names.ts';
import { hashDeviceSize } from '../../formats/verity/dm-verity.ts';
import { openVerity } from '../../formats/verity/verity-reader.ts';
import type { DmVerity } from '../../formats/verity/verity-sink.ts';
import { BLOCK_SIZE, DIGEST_SIZE, levelLengths } from '../../formats/verity/verity-tree.ts';
import { draw, type Random } from './draw.ts';
import type { MirrorLink } from './mirror-link.ts';
import { rangesOf, type Sampling } from './odds.ts';
import { RangedFile } from './ranged-file.ts';

/** A file that is not what was signed, and where that shows. */
export interface Drift {
  /** Below the mirror. */
  readonly path: string;
  /** Of 4096 bytes, counted from 0; undefined where no block is known. */
  readonly block?: number;
  readonly message: string;
}

/** Blocks of an image, by their SHA-256. */
type Digests = Iterable<readonly [index: number, digest: Uint8Array]>;

/** An image on a mirror that has a signed root hash. */
export interface TreedImage {
  readonly link: MirrorLink;
  /** Below the mirror. */
  readonly path: string;
  readonly verity: Verity;
}

/**
 * Reads random ranges of an image and holds each of their blocks against the hash tree, of which the blocks between it and
 * the signed root are fetched and verified, too.
 *
 * @returns the first block that is not the one that was sealed; undefined: all that were drawn are.
 * @throws Refusal where the mirror cannot be read.
 */
export async function sampleImage(
  image: TreedImage,
  sampling: Sampling,
  random: Random,
): Promise<Drift | undefined> {
  const { link, path, verity } = image;
  const { blocks, rangeBlocks, drawn } = sampling;
  const ranges = draw(rangesOf(sampling), drawn, random).map((range) => {
    const first = range * rangeBlocks;
    return { offset: first * BLOCK_SIZE, length: Math.min(rangeBlocks, blocks - first) * BLOCK_SIZE };
  });
  const digests: [number, Uint8Array][] = [];
  const file = new RangedFile(link, path, verity.dataBlocks * BLOCK_SIZE);
  for await (const { part, bytes } of file.parts(ranges)) {
    for (let at = 0; at < bytes.length; at += BLOCK_SIZE) {
      const block = bytes.subarray(at, at + BLOCK_SIZE);
      digests.push([(part.offset + at) / BLOCK_SIZE, hash('sha256', block, 'buffer')]);
    }
  }
  return firstDrift(image, digests);
}

/** Which block of an image that was read whole is another one. @param came the tree over what came. */
export function findDrift(image: TreedImage, came: DmVerity): Promise<Drift | undefined> {
  return firstDrift(image, leavesOf(came));
}

/** The digests of the data blocks: the last level of the hash device. */
function* leavesOf({ dataBlocks, hashDevice, rootHash }: DmVerity): Digests {
  const [level] = levelLengths(dataBlocks);
  // One block alone has no level above it.
  if (level === undefined) return yield [0, rootHash];
  const bytes = Buffer.concat(hashDevice);
  const leaves = bytes.subarray(bytes.length - level * BLOCK_SIZE);
  for (let index = 0; index < dataBlocks; index += 1)
    yield [index, leaves.subarray(index * DIGEST_SIZE, (index + 1) * DIGEST_SIZE)];
}

async function firstDrift({ link, path, verity }: TreedImage, digests: Digests): Promise<Drift | undefined> {
  const { dataBlocks, rootHash } = verity;
  const tree = new RangedFile(link, path + VERITY.tree, hashDeviceSize(dataBlocks));
  const superblock = await tree.read(0, BLOCK_SIZE);
  try {
    const reader = openVerity({ rootHash: Buffer.from(rootHash, 'hex'), dataBlocks, superblock });
    for (const [index, digest] of digests) {
      const verdict = await reader.verifyDigest(index, digest, (offset, length) => tree.read(offset, length));
      if (verdict.verified) continue;
      const { hashBlock } = verdict;
      return hashBlock === undefined
        ? { path, block: index, message: `Block ${index} of ${path} is not the one that was sealed.` }
        : {
            path: tree.path,
            block: hashBlock,
            message: `Block ${hashBlock} of ${tree.path} is not the one that was sealed.`,
          };
    }
    return undefined;
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    return {
      path: tree.path,
      block: 0,
      message: `${tree.path} is not the tree that was sealed: ${error.message}`,
    };
  }
}
