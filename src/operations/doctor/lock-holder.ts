import { readdir, readFile, readlink, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { statIfThere } from '../../files/read-if-there.ts';
import { ofNobody } from './passed-over.ts';

/**
 * Who holds the lock that a file stands for (flock(2)). The lock itself is not tried: whoever wanted it at that moment
 * would be refused. Processes of other users are seen by root alone.
 *
 * @param proc where the kernel tells of itself, proc(5).
 */
export async function lockHolder(
  path: string,
  proc = '/proc',
): Promise<{ readonly pid: number; readonly name: string } | undefined> {
  const file = await statIfThere(path);
  if (!file) return undefined;
  for (const entry of await readdir(proc)) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const folder = join(proc, entry);
    for (const fd of await readdir(join(folder, 'fd')).catch(ofNobody<string[]>([]))) {
      const at = join(folder, 'fd', fd);
      // In another mount namespace it has another name, which ends alike.
      if (!(await readlink(at).catch(ofNobody(''))).endsWith('/lock')) continue;
      const found = await stat(at).catch(ofNobody(undefined));
      if (found?.dev !== file.dev || found.ino !== file.ino) continue;
      // Of an open file the kernel says which locks are its own; others may have it open to read it.
      const facts = await readFile(join(folder, 'fdinfo', fd), 'latin1').catch(ofNobody(''));
      if (!/^lock:.*\bFLOCK\b.*\bWRITE\b/m.test(facts)) continue;
      return { pid, name: (await readFile(join(folder, 'comm'), 'utf8').catch(ofNobody('?'))).trim() };
    }
  }
  return undefined;
}
