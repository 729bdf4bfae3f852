import { cp, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheEntry } from './cache.ts';
import { execute, run } from './command.ts';

/**
 * Debian packages that are unpacked, not installed: each would change every initramfs that this machine makes. Their
 * files lie over those of /usr in a view of the file system that only `runWith` has.
 */

/** A folder as /usr would be with these packages alone. */
export async function unpackedPackages(names: readonly string[]): Promise<string> {
  const versions = await candidates(names);
  const entry = await cacheEntry('packages', { versions, layout: 1 }, async (folder) => {
    const work = join(folder, 'work');
    const usr = join(folder, 'usr');
    await mkdir(work);
    await mkdir(usr);
    const first = await execute('apt-get', ['download', ...names], { cwd: work });
    if (first.status !== 0) {
      // Package lists older than the mirror name files that are gone.
      await run('apt-get', ['update']);
      await run('apt-get', ['download', ...names], { cwd: work });
    }
    for (const archive of (await readdir(work)).filter((name) => name.endsWith('.deb'))) {
      await run('dpkg-deb', ['-x', join(work, archive), join(work, 'root')]);
    }
    await cp(join(work, 'root', 'usr'), usr, { recursive: true, verbatimSymlinks: true });
    // Debian has joined these with those of /usr.
    for (const name of ['bin', 'sbin', 'lib']) {
      await cp(join(work, 'root', name), join(usr, name), { recursive: true, verbatimSymlinks: true }).catch(
        ifThere,
      );
    }
    await rm(work, { recursive: true });
  });
  return join(entry, 'usr');
}

/** Runs a shell script where the files of these folders lie over those of /usr, the first above all. */
export async function runWith(
  folders: readonly string[],
  script: string,
  args: readonly string[],
): Promise<void> {
  const over = `mount -t overlay -o "lowerdir=${[...folders, '/usr'].join(':')}" overlay /usr\n`;
  // An overlay of one folder alone is none.
  const whole = folders.length > 0 ? over + script : script;
  await run('unshare', ['-m', 'sh', '-e', '-c', whole, 'sh', ...args]);
}

function ifThere(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}

async function candidates(names: readonly string[]): Promise<readonly string[]> {
  const first = await execute('apt-cache', ['policy', ...names]);
  const found = [...first.stdout.matchAll(/^(\S+):\n.*\n\s+Candidate: (\S+)$/gm)].map(
    ([, name, version]) => `${name} ${version}`,
  );
  if (found.length === names.length && found.every((one) => !one.endsWith(' (none)'))) return found;
  throw new Error(`apt knows not all of ${names.join(' ')}: run apt-get update`);
}
