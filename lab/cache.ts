import { createHash, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from './command.ts';

/**
 * What an entry is made from. It must name everything that decides the content, so that a changed recipe
 * gives another entry; the key is the SHA-256 of its JSON.
 */
export type Recipe = Readonly<Record<string, unknown>>;

/** The repository's root, found from wherever the compiled code lies. */
export function repositoryRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'lab', 'initramfs', 'init'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error('lab/initramfs/init was found in no folder above this program');
    folder = parent;
  }
  return folder;
}

/** `BOOTSEAL_TEST_CACHE`, else `.cache/e2e` in the repository. */
export function cacheFolder(): string {
  const wished = process.env.BOOTSEAL_TEST_CACHE;
  return wished ? resolve(wished) : join(repositoryRoot(), '.cache', 'e2e');
}

/**
 * The folder of a cache entry, made by `make` the first time. `make` works in a folder of its own that is
 * renamed into place when everything in it has reached the disk: an interrupted run leaves no entry.
 */
export async function cacheEntry(
  name: string,
  recipe: Recipe,
  make: (folder: string) => Promise<void>,
): Promise<string> {
  const cache = cacheFolder();
  const key = createHash('sha256').update(JSON.stringify(recipe)).digest('hex').slice(0, 16);
  const entry = join(cache, `${name}-${key}`);
  if (existsSync(entry)) return entry;

  await mkdir(cache, { recursive: true });
  await removeAbandoned(cache);
  const temporary = join(cache, `.making-${process.pid}-${randomBytes(4).toString('hex')}`);
  await mkdir(temporary);
  try {
    await make(temporary);
    await writeFile(join(temporary, 'recipe.json'), `${JSON.stringify(recipe, undefined, 2)}\n`);
    await run('sync', ['-f', temporary]);
    await rename(temporary, entry);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Another run may have finished the same entry meanwhile: the rename then finds a folder in its way.
    if (!existsSync(entry)) throw error;
  }
  return entry;
}

async function removeAbandoned(cache: string): Promise<void> {
  for (const name of await readdir(cache)) {
    const pid = /^\.making-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) {
      await rm(join(cache, name), { recursive: true, force: true });
    }
  }
}
