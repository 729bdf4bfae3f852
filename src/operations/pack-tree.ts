import { type Archive, planArchive } from '../build/pack.ts';
import { Refusal } from '../errors/refusal.ts';
import { openBeneath, removeTemporariesBeneath, writeBeneath } from '../files/beneath.ts';
import { readInto, reading } from '../files/reading.ts';
import { isReservedPath } from '../formats/records/manifest.ts';
import type { PackedPath } from '../release/packed.ts';

/** Bytes that were packed so far, and in all; what it throws ends the packing, and nothing of it is left. */
export type PackProgress = (bytes: number, all: number) => void;

/**
 * Makes the site's initrd of a tree. One that holds the same already is left alone, so that its seals hold on, and
 * nothing is written where nothing changed.
 *
 * @throws what `planArchive` and writing throw.
 */
export async function packTree(
  tree: string,
  path: string,
  entries: readonly PackedPath[],
  onProgress: PackProgress = () => {},
): Promise<void> {
  // What sealing writes beside a file of a folder would make another archive each time.
  const leaveOut = (from: string) => isReservedPath(from) || from.endsWith('.verity');
  const archive = await planArchive(entries.map((entry) => ({ ...entry, tree, leaveOut })));
  // What a run before left that was killed: an image may be large.
  await removeTemporariesBeneath(tree, '');
  const step = (bytes: number) => onProgress(bytes, archive.size);
  if (await standsAlready(tree, path, archive, step)) return;
  await writeBeneath(tree, path, archive.content(step));
}

async function standsAlready(
  tree: string,
  path: string,
  archive: Archive,
  step: (bytes: number) => void,
): Promise<boolean> {
  const opened = await openBeneath(tree, path).catch((error: unknown) => {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  });
  if (!opened) return false;
  const { handle, identity } = opened;
  return reading(path, handle, async () => {
    if (identity.size !== BigInt(archive.size)) return false;
    let at = 0;
    for await (const piece of archive.content(step)) {
      const there = Buffer.alloc(piece.length);
      if ((await readInto(handle, there, at)) < there.length || !there.equals(piece)) return false;
      at += piece.length;
    }
    return true;
  });
}
