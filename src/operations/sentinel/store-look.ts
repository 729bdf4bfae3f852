import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { cannotRead, isAbsent } from '../../errors/io.ts';
import { type FileIdentity, identityOf } from '../../files/file-identity.ts';
import { entriesIfThere } from '../../files/read-if-there.ts';
import type { ExpectedRelease } from '../../store/expected-contents.ts';
import { objectKey } from '../../store/objects.ts';

/** A file that may not be what it was. */
export interface Suspicion {
  /** Relative to the state. */
  readonly path: string;
  /** `content`: what it holds has to be read. */
  readonly kind: 'content' | 'missing' | 'extra';
  /** Whose file it is, where it lies in the folder of one. */
  readonly release: string | undefined;
  /** Lower-case hex SHA-256; empty for what should not be there. */
  readonly expected: string;
}

/** What to look at: everything, or those parts of it that the kernel has told of. */
export type Scope =
  | 'all'
  | { readonly prefixes: ReadonlySet<string>; readonly releases: ReadonlySet<string> };

/** Names of what is being written: whoever writes renames it when it is whole. */
const UNFINISHED = /^\.bootseal-.*\.tmp$/;
const OBJECTS = 'objects/sha256';

/**
 * Looks at the objects and the folders of releases of a state, and reads none of them: which file there is, and whether it
 * is the one that was there the last time, by device, inode, size and times. What is seen for the first time ever is taken
 * as it is, and is for a scrub to read.
 */
export class StoreLook {
  readonly #state: string;
  /** What was held good, by path. */
  readonly #known = new Map<string, FileIdentity>();
  #begun = false;

  constructor(state: string) {
    this.#state = state;
  }

  /** The content of a file was read, and is right. */
  accept(path: string, identity: FileIdentity): void {
    this.#known.set(path, identity);
  }

  /** @throws IoError */
  async look(
    expected: ReadonlyMap<string, ExpectedRelease>,
    scope: Scope = 'all',
  ): Promise<readonly Suspicion[]> {
    const found: Suspicion[] = [];
    const wanted = scope === 'all' ? await this.#prefixes(found) : scope.prefixes;
    for (const prefix of wanted) await this.#lookAtObjects(prefix, found);
    for (const [release, contents] of expected) {
      if (scope !== 'all' && !scope.releases.has(release)) continue;
      await this.#lookAtRelease(release, contents, found);
    }
    if (scope === 'all') {
      await this.#demandObjects(expected, found);
      this.#begun = true;
    }
    return found;
  }

  async #prefixes(found: Suspicion[]): Promise<string[]> {
    const prefixes: string[] = [];
    for (const entry of await entriesIfThere(join(this.#state, OBJECTS))) {
      if (entry.isDirectory() && /^[0-9a-f]{2}$/.test(entry.name)) prefixes.push(entry.name);
      else if (!UNFINISHED.test(entry.name)) found.push(extra(`${OBJECTS}/${entry.name}`, undefined));
    }
    return prefixes;
  }

  async #lookAtObjects(prefix: string, found: Suspicion[]): Promise<void> {
    const folder = `${OBJECTS}/${prefix}`;
    const seen = new Set<string>();
    for (const entry of await entriesIfThere(join(this.#state, folder))) {
      const path = `${folder}/${entry.name}`;
      seen.add(path);
      if (UNFINISHED.test(entry.name)) continue;
      if (!entry.isFile() || !/^[0-9a-f]{62}$/.test(entry.name)) found.push(extra(path, undefined));
      else await this.#lookAtFile(path, undefined, prefix + entry.name, undefined, found);
    }
    // Collected, or moved: whether anything needs it is asked for all of them.
    for (const path of this.#known.keys())
      if (path.startsWith(`${folder}/`) && !seen.has(path)) this.#known.delete(path);
  }

  async #lookAtRelease(release: string, contents: ExpectedRelease, found: Suspicion[]): Promise<void> {
    const top = `releases/${release}`;
    const seen = new Set<string>();
    const folders = foldersOf(contents.files.keys());
    const walk = async (folder: string): Promise<void> => {
      for (const entry of await entriesIfThere(join(this.#state, top, folder))) {
        const within = folder === '' ? entry.name : `${folder}/${entry.name}`;
        if (UNFINISHED.test(entry.name)) continue;
        const path = `${top}/${within}`;
        if (entry.isDirectory() && (folders.has(within) || !contents.complete)) {
          await walk(within);
          continue;
        }
        const file = contents.files.get(within);
        if (file) seen.add(within);
        if (file) await this.#lookAtFile(path, release, file.sha256, file.size, found);
        else if (contents.complete) found.push(extra(path, release));
      }
    };
    await walk('');
    for (const [within, { sha256 }] of contents.files) {
      if (seen.has(within)) continue;
      this.#known.delete(`${top}/${within}`);
      found.push({ path: `${top}/${within}`, kind: 'missing', release, expected: sha256 });
    }
  }

  async #lookAtFile(
    path: string,
    release: string | undefined,
    expected: string,
    size: number | undefined,
    found: Suspicion[],
  ): Promise<void> {
    const now = await identityAt(join(this.#state, path));
    if (!now) return;
    const { identity, isFile } = now;
    const known = this.#known.get(path);
    const same = known !== undefined && isSame(known, identity);
    const first = known === undefined && !this.#begun;
    const fits = isFile && (size === undefined || identity.size === BigInt(size));
    if (fits && (same || first)) {
      this.#known.set(path, identity);
      return;
    }
    // One inode with its object, as a rule: what was read of that one was read of this, too.
    if (fits && release !== undefined) {
      const object = this.#known.get(objectKey(expected));
      if (object && isSame(object, identity)) {
        this.#known.set(path, identity);
        return;
      }
    }
    found.push({ path, kind: 'content', release, expected });
  }

  /** What releases are made of lies among the objects, too: whoever publishes such a release again relies on it. */
  async #demandObjects(expected: ReadonlyMap<string, ExpectedRelease>, found: Suspicion[]): Promise<void> {
    const wanted = new Set(
      [...expected.values()].flatMap(({ files }) => [...files.values()].map((one) => one.sha256)),
    );
    for (const sha256 of wanted) {
      const path = objectKey(sha256);
      if (this.#known.has(path) || (await identityAt(join(this.#state, path)))) continue;
      found.push({ path, kind: 'missing', release: undefined, expected: sha256 });
    }
  }
}

/** Every folder on the way to some paths. One that is on no way is moved as a whole, however much lies in it. */
function foldersOf(paths: Iterable<string>): ReadonlySet<string> {
  const folders = new Set<string>();
  for (const path of paths)
    for (let at = path.lastIndexOf('/'); at > 0; at = path.lastIndexOf('/', at - 1))
      folders.add(path.slice(0, at));
  return folders;
}

/**
 * With every file whose content is suspicious all those that are links to the same, as a rule: the kernel tells of the name
 * by which a file was written to, and of no other.
 */
export function withTwins(
  suspicions: readonly Suspicion[],
  expected: ReadonlyMap<string, ExpectedRelease>,
): readonly Suspicion[] {
  const digests = new Set(suspicions.filter(({ kind }) => kind === 'content').map((one) => one.expected));
  if (digests.size === 0) return suspicions;
  const all = new Map(suspicions.map((one) => [one.path, one]));
  const add = (path: string, release: string | undefined, sha256: string) => {
    if (!all.has(path)) all.set(path, { path, kind: 'content', release, expected: sha256 });
  };
  for (const sha256 of digests) add(objectKey(sha256), undefined, sha256);
  for (const [release, { files }] of expected)
    for (const [within, { sha256 }] of files)
      if (digests.has(sha256)) add(`releases/${release}/${within}`, release, sha256);
  return [...all.values()];
}

function extra(path: string, release: string | undefined): Suspicion {
  return { path, kind: 'extra', release, expected: '' };
}

/** Equal in every respect: a link that was made or taken away changes the inode's time, as putting times back does. */
export function isSame(one: FileIdentity, other: FileIdentity): boolean {
  return (['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const).every((key) => one[key] === other[key]);
}

/** What stands at a path, links not followed; undefined where nothing does. @throws IoError */
export async function identityAt(
  path: string,
): Promise<{ readonly identity: FileIdentity; readonly isFile: boolean } | undefined> {
  try {
    const facts = await lstat(path, { bigint: true });
    return { identity: identityOf(facts), isFile: facts.isFile() };
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw cannotRead(path, error);
  }
}
