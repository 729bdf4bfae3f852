import { randomBytes } from 'node:crypto';
import { rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isAbsent } from '../errors/io.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';

/**
 * Takes a release out of a state's folder: at once for whoever looks, and then its links. The objects stay for the
 * collector. The state is the caller's; who else may need the release the caller has asked.
 *
 * @throws IoError
 */
export async function removeFromFolder(state: string, release: string): Promise<void> {
  const place = join(state, 'releases', release);
  // What a crash leaves of it has a name that the next publisher cleans up.
  const draft = join(dirname(place), `.bootseal-${randomBytes(8).toString('hex')}.tmp`);
  try {
    await rename(place, draft);
    await syncDirectory(dirname(place));
    await rm(draft, { recursive: true, force: true });
  } catch (error) {
    if (!isAbsent(error)) throw explain(error, place);
  }
}
