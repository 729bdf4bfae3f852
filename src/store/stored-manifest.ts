import { Refusal } from '../errors/refusal.ts';
import type { Tree } from '../files/tree.ts';
import { MAX_MANIFEST } from '../formats/records/manifest.ts';
import { RECORD } from '../formats/records/seal-names.ts';
import { shelfOf } from './shelf-of.ts';

/**
 * The manifest of a release as it lies there, unverified; undefined where there is none. Throws a `Refusal` as every tree,
 * but `absent`; an IoError.
 */
export async function readManifestOf(tree: Tree): Promise<Uint8Array | undefined> {
  try {
    return await tree.read(RECORD.manifest, MAX_MANIFEST);
  } catch (error) {
    if (error instanceof Refusal && error.code === 'absent') return undefined;
    throw error;
  }
}

/** The same of a release of a state, wherever it is: in its place, or in quarantine. */
export async function readStoredManifest(state: string, release: string): Promise<Uint8Array | undefined> {
  const shelf = shelfOf(state);
  return (await readManifestOf(shelf.tree(release))) ?? readManifestOf(shelf.treeAside(release));
}
