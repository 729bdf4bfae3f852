import { rename, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { codeOf, isAbsent } from '../errors/io.ts';
import { Refusal } from '../errors/refusal.ts';
import { explain, syncDirectory } from '../files/atomic-file.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { makeFolders } from '../files/make-folders.ts';
import { isThere } from '../files/read-if-there.ts';
import type { Tree } from '../files/tree.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { demandRead, type VerifiedRelease } from '../trust/verified-release.ts';
import { recordsOf } from './folder-backend.ts';
import { changeRelease, finishChange } from './journal.ts';
import { provenanceKey } from './provenance.ts';
import type { LocalRelease, ReleaseChange, ReleaseShelf, ShelfTreeOptions } from './release-shelf.ts';
import { storeRelease } from './release-store.ts';

/**
 * Releases of a state folder: `releases/NAME/VERSION/` in its place, `quarantine/NAME/VERSION/release/` aside. Each move
 * is one rename.
 */
export class FolderShelf implements ReleaseShelf {
  readonly #state: string;

  constructor(state: string) {
    this.#state = state;
  }

  has(release: string): Promise<boolean> {
    return isThere(this.#place(release));
  }

  async ids(): Promise<string[]> {
    const records = recordsOf(this.#state);
    const below = async (prefix: string) =>
      (await records.list(prefix)).filter((name) => name.endsWith('/')).map((name) => name.slice(0, -1));
    const ids: string[] = [];
    for (const name of await below('releases'))
      for (const version of await below(`releases/${name}`)) ids.push(`${name}/${version}`);
    return ids.filter(isReleaseId).sort();
  }

  tree(release: string, options: ShelfTreeOptions = {}): Tree {
    return new FolderTree(this.#place(release), options);
  }

  async local(release: string): Promise<LocalRelease> {
    return { tree: this.tree(release), end: async () => {} };
  }

  isAside(release: string): Promise<boolean> {
    return isThere(this.#aside(release));
  }

  treeAside(release: string): Tree {
    return new FolderTree(this.#aside(release));
  }

  folder(release: string, aside: boolean): string {
    return aside ? this.#aside(release) : this.#place(release);
  }

  async store(verified: VerifiedRelease, now: number): Promise<boolean> {
    demandRead(verified);
    return storeRelease(this.#state, verified, now);
  }

  /** In one step, reason and release together: neither is ever without the other. */
  async makeRoom(release: string): Promise<void> {
    if (!(await this.isAside(release)) || !(await this.has(release))) return;
    for (let count = 1; ; count += 1) {
      const further = join(this.#state, provenanceKey(release, 'quarantined', `before-${count}`));
      if (await isThere(further)) continue;
      return moveFolder(dirname(this.#aside(release)), further);
    }
  }

  async moveAside(release: string): Promise<void> {
    if (await this.has(release)) await moveFolder(this.#place(release), this.#aside(release));
  }

  async moveBack(release: string): Promise<void> {
    if (!(await this.isAside(release))) return;
    if (await this.has(release)) throw publishedMeanwhile(release);
    await moveFolder(this.#aside(release), this.#place(release));
  }

  async tidy(release: string): Promise<void> {
    const folder = join(this.#state, 'quarantine', release);
    await removeIfEmpty(folder);
    await removeIfEmpty(dirname(folder));
  }

  change(change: ReleaseChange): Promise<void> {
    return changeRelease(this.#state, change);
  }

  finishChange(): Promise<void> {
    return finishChange(this.#state);
  }

  #place(release: string): string {
    return join(this.#state, 'releases', release);
  }

  #aside(release: string): string {
    return join(this.#state, 'quarantine', release, 'release');
  }
}

/** Of a release that cannot come back to its place. */
export function publishedMeanwhile(release: string): Refusal {
  return new Refusal(
    'mixed-releases',
    `Another ${release} was published while this one was in quarantine; it stays there.`,
    { release },
  );
}

async function moveFolder(from: string, to: string): Promise<void> {
  await makeFolders(dirname(to));
  try {
    await rename(from, to);
    await syncDirectory(dirname(to));
    await syncDirectory(dirname(from));
  } catch (error) {
    throw explain(error, to);
  }
}

/** An empty folder alone: rmdir removes nothing else. */
async function removeIfEmpty(folder: string): Promise<void> {
  try {
    await rmdir(folder);
  } catch (error) {
    if (!isAbsent(error) && codeOf(error) !== 'ENOTEMPTY') throw explain(error, folder);
  }
}
