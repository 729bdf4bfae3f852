import { dirname, join, relative, resolve } from 'node:path';
import { type Written, writeFileAtomically } from '../files/atomic-file.ts';
import { writeBeneath } from '../files/beneath.ts';
import { lstatIfThere } from '../files/read-if-there.ts';
import { RECORD } from '../formats/records/seal-names.ts';

/** What tells a tree of boot files from any other folder: its own file, its manifest, archiso's layout. */
const MARKS = ['bootseal.toml', RECORD.manifest, 'arch/boot'];

/**
 * Writes a file that the operator named, whole or not at all. Links in the name are the operator's own, and followed,
 * as far as the outermost tree of boot files on the way; in that, they are its author's, and refused.
 *
 * @throws Refusal `unsafe-path`; IoError.
 */
export async function writeOutput(out: string, bytes: Written): Promise<void> {
  const path = resolve(out);
  const tree = await treeAround(path);
  if (tree === undefined) return writeFileAtomically(out, bytes);
  await writeBeneath(tree, relative(tree, path), bytes);
}

async function treeAround(path: string): Promise<string | undefined> {
  const folders: string[] = [];
  for (let at = dirname(path); ; at = dirname(at)) {
    folders.push(at);
    if (at === dirname(at)) break;
  }
  for (const folder of folders.reverse()) {
    for (const mark of MARKS) if (await lstatIfThere(join(folder, mark))) return folder;
  }
  return undefined;
}
