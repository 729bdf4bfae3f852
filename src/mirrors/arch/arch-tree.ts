import { chmod, copyFile, link, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { explain, syncDirectory } from '../../files/atomic-file.ts';
import { makeDraft, removeOldDrafts } from '../../files/draft-folder.ts';

/**
 * A tree appears with every file in it, or not at all.
 *
 * @param folder does not exist yet. @param placed files that lie elsewhere on this file system, by their path in the tree.
 * @throws IoError
 */
export async function placeTree(
  folder: string,
  placed: ReadonlyMap<string, string>,
  small: ReadonlyMap<string, Uint8Array>,
): Promise<void> {
  let draft: string | undefined;
  try {
    await removeOldDrafts(folder);
    draft = await makeDraft(folder);
    const folders = new Set([draft]);
    const place = async (path: string, write: (to: string) => Promise<void>) => {
      const to = join(draft as string, path);
      for (let above = dirname(to); !folders.has(above); above = dirname(above)) folders.add(above);
      await mkdir(dirname(to), { recursive: true, mode: 0o755 });
      await write(to);
      await chmod(to, 0o644);
      const handle = await open(to, 'r');
      await handle.sync().finally(() => handle.close());
    };
    // They stay where they are until the tree stands: who is killed here has fetched nothing in vain.
    for (const [path, from] of placed)
      await place(path, (to) => link(from, to).catch(() => copyFile(from, to)));
    for (const [path, bytes] of small)
      await place(path, async (to) => {
        const handle = await open(to, 'wx', 0o644);
        await handle.writeFile(bytes).finally(() => handle.close());
      });
    for (const one of folders) {
      await chmod(one, 0o755);
      await syncDirectory(one);
    }
    await rename(draft, folder);
    await syncDirectory(dirname(folder));
  } catch (error) {
    if (draft !== undefined) await rm(draft, { recursive: true, force: true }).catch(() => {});
    throw (error as NodeJS.ErrnoException).code ? explain(error, folder) : error;
  }
}
