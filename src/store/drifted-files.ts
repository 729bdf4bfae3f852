import { createHash } from 'node:crypto';
import { rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isAbsent } from '../errors/io.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { makeFolders } from '../files/make-folders.ts';
import { recordsOf } from './folder-backend.ts';
import { encodeStateJson, stateTime } from './state-json.ts';

/**
 * Single files that are not what the state was given, or that it was never given: `quarantine/files/drift-…/content`, and
 * beside it `reason.json`. A release that lost one so is *held* (quarantine.ts), with all else that it has in its place.
 */

export interface DriftedFile {
  /** Where it lay, relative to the state. */
  readonly path: string;
  readonly kind: 'changed' | 'extra';
  /** Lower-case hex: what it should be; empty for one that should not be there. */
  readonly expected: string;
  /** Lower-case hex: what it is; empty for what is no file. */
  readonly found: string;
  /** One sentence. */
  readonly message: string;
}

/**
 * Moves a file out of its place. The reason is written first. The state is the caller's.
 *
 * @param time milliseconds since 1970.
 * @returns where it is now, relative to the state; undefined where it was gone already.
 * @throws IoError
 */
export async function quarantineFile(
  state: string,
  file: DriftedFile,
  time: number,
): Promise<string | undefined> {
  // Longer than a version may be, so that no release is ever meant.
  const id = createHash('sha256').update(`${file.path}\n${time}\n${file.found}`).digest('hex');
  const folder = `quarantine/files/drift-${id}`;
  await recordsOf(state).put(
    `${folder}/reason.json`,
    encodeStateJson({ 'bootseal-drifted-file': 1, time: stateTime(time), ...file }),
  );
  const [from, to] = [join(state, file.path), join(state, folder, 'content')];
  try {
    await makeFolders(dirname(to));
    await rename(from, to);
    await syncDirectory(dirname(to));
    await syncDirectory(dirname(from));
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw explain(error, to);
  }
  return `${folder}/content`;
}
