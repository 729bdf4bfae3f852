import { encodeTarHeader, TAR_END_OCTETS, tarPadding } from '../formats/archive/ustar.ts';
import {
  BUNDLE_INDEX,
  type BundleIndex,
  type BundleMember,
  encodeBundleIndex,
} from '../formats/records/bundle-index.ts';

/** Bytes of a bundle, headers and ends included. */
export function bundleSize(index: BundleIndex): number {
  const sizes = [encodeBundleIndex(index).length, ...index.members.map(({ size }) => size)];
  return sizes.reduce(
    (sum, size) => sum + encodeTarHeader({ path: 'x', size }).length + size + tarPadding(size),
    TAR_END_OCTETS,
  );
}

/**
 * The bytes of a bundle, piece by piece.
 *
 * @param content of each member: exactly the bytes that the index names, or it throws.
 */
export async function* bundlePieces(
  index: BundleIndex,
  content: (member: BundleMember) => AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  const bytes = encodeBundleIndex(index);
  yield encodeTarHeader({ path: BUNDLE_INDEX, size: bytes.length });
  yield bytes;
  yield Buffer.alloc(tarPadding(bytes.length));
  for (const member of index.members) {
    yield encodeTarHeader({ path: member.name, size: member.size });
    yield* content(member);
    yield Buffer.alloc(tarPadding(member.size));
  }
  yield Buffer.alloc(TAR_END_OCTETS);
}
