import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execute, run } from './command.ts';

/**
 * A Debian package, downloaded and unpacked in `work/root`, and not installed.
 *
 * @returns the folder that it was unpacked in.
 */
export async function unpackedPackage(work: string, packageName: string): Promise<string> {
  const first = await execute('apt-get', ['download', packageName], { cwd: work });
  if (first.status !== 0) {
    // Package lists older than the mirror name files that are gone.
    await run('apt-get', ['update']);
    await run('apt-get', ['download', packageName], { cwd: work });
  }
  const archive = (await readdir(work)).find((name) => name.endsWith('.deb'));
  if (archive === undefined) throw new Error(`apt-get download ${packageName} left no .deb`);
  const root = join(work, 'root');
  await run('dpkg-deb', ['-x', join(work, archive), root]);
  return root;
}
