import { randomBytes } from 'node:crypto';
import { mkdir, open, rename } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { explain, isGone, syncDirectory } from './atomic-file.ts';
import { lstatIfThere } from './read-if-there.ts';

/**
 * Writes a whole folder that does not exist yet: it appears with every file in it, or not at all. Throws a
 * `Refusal` (`unsafe-path`) where something has that name already, or an `IoError`.
 *
 * @param files paths below the folder, with `/`; the caller vouches for them.
 */
export async function writeFolderAtomically(
  directory: string,
  files: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  const target = resolve(directory);
  if (await lstatIfThere(target)) throw exists(directory);
  const draft = join(dirname(target), `.bootseal-${basename(target)}-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await mkdir(draft, { mode: 0o755 });
    const folders = new Set([draft]);
    for (const [name, bytes] of files) {
      const path = join(draft, name);
      for (let folder = dirname(path); !folders.has(folder); folder = dirname(folder)) folders.add(folder);
      await mkdir(dirname(path), { recursive: true, mode: 0o755 });
      const handle = await open(path, 'wx', 0o644);
      try {
        await handle.writeFile(bytes);
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
    for (const folder of folders) await syncDirectory(folder);
    await rename(draft, target);
  } catch (error) {
    const clean = await isGone(draft);
    const { code } = error as NodeJS.ErrnoException;
    // rename() replaces nothing but an empty folder, which loses nothing.
    if (code === 'ENOTEMPTY' || code === 'EEXIST') throw exists(directory);
    throw code ? explain(error, directory, clean) : error;
  }
  await syncDirectory(dirname(target));
}

function exists(directory: string): Refusal {
  return new Refusal('unsafe-path', `${directory} exists already and is not replaced.`, { path: directory });
}
