import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheEntry } from './cache.ts';
import { run } from './command.ts';

/** Debian packages of another architecture or release, unpacked; nothing is installed, and the machine's apt stays. */
export interface ForeignPackages {
  /** Debian's name: `arm64`. */
  readonly architecture: string;
  /** `bookworm` */
  readonly suite: string;
  readonly packages: readonly string[];
  /** With everything that they depend on, libraries among it. */
  readonly closure?: boolean;
}

/** Whose signature the mirror's lists must have; part of what apt itself needs. */
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** A root with the packages in it, unpacked; downloaded the first time, for which apt must reach a mirror. */
export async function foreignRoot(wanted: ForeignPackages): Promise<string> {
  const name = `foreign-${wanted.suite}-${wanted.architecture}`;
  const entry = await cacheEntry(name, { ...wanted, layout: 1 }, async (folder) => {
    const apt = await foreignApt(join(folder, 'apt'), wanted);
    await apt.unpack(wanted.packages, join(folder, 'root'), wanted.closure === true);
    await rm(join(folder, 'apt'), { recursive: true });
  });
  return join(entry, 'root');
}

/** apt with a state of its own. */
export interface ForeignApt {
  /** Downloads packages, what they depend on too where `closure` says so, and unpacks them in `root`. */
  unpack(packages: readonly string[], root: string, closure?: boolean): Promise<void>;
  /** The first package that this one depends on whose name fits. */
  dependency(of: string, pattern: RegExp): Promise<string>;
}

/** Reads a mirror's lists for another architecture into `folder`, verified by Debian's own keys. */
export async function foreignApt(
  folder: string,
  { architecture, suite }: Pick<ForeignPackages, 'architecture' | 'suite'>,
): Promise<ForeignApt> {
  const archives = join(folder, 'cache', 'archives');
  for (const path of ['lists/partial', 'cache/archives/partial', 'empty']) {
    await mkdir(join(folder, path), { recursive: true });
  }
  await writeFile(join(folder, 'status'), '');
  await writeFile(
    join(folder, 'sources.list'),
    `deb [signed-by=${KEYRING}] ${await debianMirror()} ${suite} main\n`,
  );
  const options = Object.entries({
    'APT::Architecture': architecture,
    'APT::Architectures': architecture,
    'APT::Architectures::': architecture,
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
    'Dir::State': folder,
    'Dir::State::lists': join(folder, 'lists'),
    'Dir::State::status': join(folder, 'status'),
    'Dir::Cache': join(folder, 'cache'),
    'Dir::Etc::sourcelist': join(folder, 'sources.list'),
    'Dir::Etc::sourceparts': join(folder, 'empty'),
    'Dir::Etc::preferences': join(folder, 'none'),
    'Dir::Etc::preferencesparts': join(folder, 'empty'),
  }).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await run('apt-get', [...options, 'update'], { env });
  return {
    async unpack(packages, root, closure = false) {
      await mkdir(root, { recursive: true });
      // With nothing installed, what is to be installed is all that it needs.
      if (closure) {
        const words = ['install', '-y', '--no-install-recommends', '--download-only'];
        await run('apt-get', [...options, ...words, ...packages], { env });
      } else await run('apt-get', [...options, 'download', ...packages], { env, cwd: archives });
      for (const name of (await readdir(archives)).filter((file) => file.endsWith('.deb')).sort()) {
        await run('dpkg-deb', ['-x', join(archives, name), root]);
        await rm(join(archives, name));
      }
    },
    async dependency(of, pattern) {
      const { stdout } = await run('apt-cache', [...options, 'depends', of], { env });
      const names = [...stdout.matchAll(/^\s*Depends: (\S+)$/gm)].map(([, name = '']) => name);
      const found = names.find((name) => pattern.test(name));
      if (found === undefined) throw new Error(`${of} depends on no ${pattern}: ${names.join(' ')}`);
      return found;
    },
  };
}

/** The mirror of Debian that this machine's own packages come from. */
export async function debianMirror(): Promise<string> {
  const format = ['--format', '$(REPO_URI)', 'Created-By: Packages'];
  const { stdout } = await run('apt-get', ['indextargets', ...format]);
  const found = stdout.split('\n').find((uri) => /^https?:\/\/\S+\/debian\/?$/.test(uri));
  if (found === undefined) throw new Error("apt's sources name no mirror of Debian (http://…/debian)");
  return found;
}
