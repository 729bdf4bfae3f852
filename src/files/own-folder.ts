import { stat } from 'node:fs/promises';
import { cannotRead } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';

/**
 * A folder in which nobody else may write: who may could put another file in the place of one that was just written.
 *
 * @throws Refusal `unsafe-keys` where it is another user's (root's will do), or others may write in it; IoError.
 */
export async function demandOwn(folder: string): Promise<void> {
  const { uid, mode } = await stat(folder).catch((error: unknown) => {
    throw cannotRead(folder, error);
  });
  if (uid !== 0 && uid !== process.getuid?.())
    throw new Refusal(
      'unsafe-keys',
      `${folder} is another user's (uid ${uid}), who may replace what is in it.`,
      {
        path: folder,
      },
    );
  if ((mode & 0o022) === 0) return;
  throw new Refusal(
    'unsafe-keys',
    `Others may write in ${folder}, and replace what is in it; run "chmod go-w ${folder}".`,
    { path: folder },
  );
}
