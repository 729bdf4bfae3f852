import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cannotRead, IoError, isAbsent } from '../errors/io.ts';

/**
 * A file that ships with Bootseal, in one of the package's folders. Throws an `IoError`: a package that lacks one is
 * broken, and says nothing about any release.
 */
export function readPackageFile(folder: string, name: string): Buffer {
  // Below dist/ or not: the package's top level is some way above this file.
  for (let at = dirname(fileURLToPath(import.meta.url)); ; at = dirname(at)) {
    const path = join(at, folder, name);
    try {
      return readFileSync(path);
    } catch (error) {
      if (!isAbsent(error)) throw cannotRead(path, error);
      if (at !== dirname(at)) continue;
      throw new IoError(
        `${folder}/${name} is missing from the package; install Bootseal again.`,
        name,
        'ENOENT',
        {
          cause: error,
        },
      );
    }
  }
}
