import { chmod, mkdir } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { explain, syncDirectory } from './atomic-file.ts';

/**
 * Makes a folder and those above it that are missing, each with exactly these permission bits whatever the process's
 * umask, and durable. A folder that is there already keeps what its owner gave it.
 *
 * @param mode permission bits; 0755 unless told.
 * @throws IoError
 */
export async function makeFolders(path: string, mode = 0o755): Promise<void> {
  try {
    const first = await mkdir(path, { recursive: true, mode });
    if (first === undefined) return;
    for (let at = resolve(path); ; at = dirname(at)) {
      // mkdir() gives what the umask leaves: too little under 077.
      await chmod(at, mode);
      await syncDirectory(dirname(at));
      // The root stands for a way up that names none of what was made, as by a link.
      if (at === resolve(first) || at === dirname(at)) return;
    }
  } catch (error) {
    throw explain(error, path);
  }
}
