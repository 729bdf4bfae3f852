import { createHash } from 'node:crypto';
import { encodeRootHash } from '../verity/dm-verity.ts';
import { type Checksum, encodeChecksums } from './checksums.ts';
import type { Manifest } from './manifest.ts';
import { RECORD, SUMS, VERITY } from './seal-names.ts';

/** A `SHA256SUMS` of a release; nothing in it but what follows from the manifest. */
export interface Sums {
  /** Relative to the tree. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Payload, by where it lies. */
interface Placed {
  readonly files: readonly { readonly path: string }[];
}

/**
 * Every `SHA256SUMS` of a release. The one at the top names the manifest, then all payload by its path from there, so
 * that `sha256sum -c SHA256SUMS` reads the whole release. systemd's downloaders ask for the list in the folder of the
 * file they fetch, and for that file's name alone: each folder below has one of what lies in itself. A root hash is
 * listed, since they fetch it with the image; seals are not, nor scripts, which have seals of their own.
 *
 * @param manifestSha256 lower-case hex.
 */
export function sumsOf(manifest: Manifest, manifestSha256: string): Sums[] {
  const all: Checksum[] = manifest.files.flatMap(({ path, sha256 }) => [
    { name: path, digest: sha256 },
    ...manifest.verity
      .filter((line) => line.path === path)
      .map(({ rootHash }) => ({ name: path + VERITY.rootHash, digest: digestOf(rootHash) })),
  ]);
  const top = encodeChecksums([{ name: RECORD.manifest, digest: manifestSha256 }, ...all]);
  return [
    { path: SUMS.name, bytes: Buffer.from(top) },
    ...foldersOf(manifest).map((folder) => {
      const inside = all.flatMap(({ name, digest }) =>
        folderOf(name) === folder ? [{ name: name.slice(folder.length + 1), digest }] : [],
      );
      return { path: `${folder}/${SUMS.name}`, bytes: Buffer.from(encodeChecksums(inside)) };
    }),
  ];
}

/** Where they stand, the one at the top first. */
export function sumsPaths(manifest: Placed): string[] {
  return [SUMS.name, ...foldersOf(manifest).map((folder) => `${folder}/${SUMS.name}`)];
}

/** Folders below the top that hold payload themselves, as the manifest comes to them. */
function foldersOf({ files }: Placed): string[] {
  return [...new Set(files.map(({ path }) => folderOf(path)))].filter((folder) => folder !== '');
}

function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')));
}

function digestOf(rootHash: string): string {
  return createHash('sha256')
    .update(encodeRootHash(Buffer.from(rootHash, 'hex')))
    .digest('hex');
}
