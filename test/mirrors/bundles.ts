import { createHash } from 'node:crypto';
import { encodeTarHeader, TAR_END_OCTETS, tarPadding } from '../../src/formats/archive/ustar.ts';
import {
  BUNDLE_INDEX,
  type BundleIndex,
  decodeBundleIndex,
  encodeBundleIndex,
} from '../../src/formats/records/bundle-index.ts';

/** Bundles that somebody has had in his hands. */

export const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

export interface Member {
  readonly name: string;
  readonly bytes: Uint8Array;
}

export async function bytesOf(pieces: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = [];
  for await (const piece of pieces) all.push(Buffer.from(piece));
  return Buffer.concat(all);
}

/** Bytes in pieces of a size that divides nothing. */
export async function* inPieces(bytes: Uint8Array, size = 1021): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** An archive of members, as `bundlePieces` writes one. */
export function tarOf(members: readonly Member[]): Buffer {
  return Buffer.concat([
    ...members.flatMap(({ name, bytes }) => [
      encodeTarHeader({ path: name, size: bytes.length }),
      bytes,
      Buffer.alloc(tarPadding(bytes.length)),
    ]),
    Buffer.alloc(TAR_END_OCTETS),
  ]);
}

/** A bundle taken apart. */
export function partsOf(bundle: Buffer): { readonly index: BundleIndex; readonly members: Member[] } {
  const size = Number.parseInt(bundle.toString('latin1', 124, 135), 8);
  const index = decodeBundleIndex(bundle.subarray(512, 512 + size));
  let at = 512 + size + tarPadding(size);
  const members = index.members.map(({ name, size: octets }) => {
    const bytes = bundle.subarray(at + 512, at + 512 + octets);
    at += 512 + octets + tarPadding(octets);
    return { name, bytes };
  });
  return { index, members };
}

/** Puts a bundle together whose index says of its members what they are. */
export function bundleOf(index: BundleIndex, members: readonly Member[]): Buffer {
  const listed = members.map(({ name, bytes }) => ({ name, size: bytes.length, sha256: sha256(bytes) }));
  const bytes = encodeBundleIndex({ ...index, members: listed });
  return tarOf([{ name: BUNDLE_INDEX, bytes }, ...members]);
}
