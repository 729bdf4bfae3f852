import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Refusal } from '../errors/refusal.ts';
import { writeFileAtomically } from '../files/atomic-file.ts';
import { FolderTree } from '../files/folder-tree.ts';
import { makeFolders } from '../files/make-folders.ts';
import type { Tree } from '../files/tree.ts';
import { isReleaseId } from '../formats/records/safe-path.ts';
import { demandRead, type VerifiedRelease } from '../trust/verified-release.ts';
import type { StoreBackend, StoredRecord } from './backend.ts';
import { changeInBucket, finishBucketChange } from './bucket-change.ts';
import {
  listKey,
  listOf,
  readList,
  reasonKey,
  removeCopies,
  storeInBucket,
  writeCopies,
} from './bucket-store.ts';
import { publishedMeanwhile } from './folder-shelf.ts';
import { ListedTree } from './listed-tree.ts';
import { provenanceKey } from './provenance.ts';
import type { LocalRelease, ReleaseChange, ReleaseShelf, ShelfTreeOptions } from './release-shelf.ts';

/**
 * Releases of a bucket: a release is in its place with its list (bucket-store.ts), and aside with that list below
 * `quarantine/`. A move writes the one before it takes the other away, and the list of the place is what counts: as long as
 * it is there, a list beside it that says the same is a move that was cut short, or has not ended.
 */
export class BucketShelf implements ReleaseShelf {
  readonly #state: string;
  readonly #records: StoreBackend;

  /** @param state how sentences name it. */
  constructor(state: string, records: StoreBackend) {
    this.#state = state;
    this.#records = records;
  }

  async has(release: string): Promise<boolean> {
    return (await this.#records.facts(listKey(release))) !== undefined;
  }

  async ids(): Promise<string[]> {
    const ids: string[] = [];
    for (const name of await this.#records.list('lists')) {
      if (!name.endsWith('/')) continue;
      for (const version of await this.#records.list(`lists/${name.slice(0, -1)}`)) ids.push(name + version);
    }
    return ids.filter(isReleaseId).sort();
  }

  tree(release: string, options: ShelfTreeOptions = {}): Tree {
    return this.#tree(release, listKey(release), `releases/${release}`, options);
  }

  async local(release: string): Promise<LocalRelease> {
    const folder = await mkdtemp(join(tmpdir(), 'bootseal-release-'));
    const end = () => rm(folder, { recursive: true, force: true });
    try {
      const list = await readList(this.#records, release);
      const tree = new ListedTree(
        this.#records,
        release,
        listKey(release),
        `${this.#state}/releases/${release}`,
      );
      for (const { path } of list?.files ?? []) {
        const to = join(folder, path);
        await makeFolders(dirname(to));
        await writeFileAtomically(to, tree.pieces(path));
      }
      return { tree: new FolderTree(folder), end };
    } catch (error) {
      await end();
      throw error;
    }
  }

  async isAside(release: string): Promise<boolean> {
    const aside = await this.#records.get(asideKey(release));
    return aside !== undefined && !same(aside, await this.#records.get(listKey(release)));
  }

  treeAside(release: string): Tree {
    return this.#tree(release, asideKey(release), `quarantine/${release}`);
  }

  folder(): undefined {
    return undefined;
  }

  async store(verified: VerifiedRelease, now: number): Promise<boolean> {
    demandRead(verified);
    return storeInBucket(this.#records, verified, now);
  }

  async makeRoom(release: string): Promise<void> {
    const aside = await this.#records.get(asideKey(release));
    const place = await this.#records.get(listKey(release));
    if (!aside || !place || same(aside, place)) return;
    const reason = await this.#records.get(reasonKey(release));
    for (let count = 1; ; count += 1) {
      const key = (name: string) => provenanceKey(release, 'quarantined', `before-${count}`, name);
      if (!(await this.#kept(key('list'), aside))) continue;
      if (reason && !(await this.#kept(key('reason.json'), reason))) continue;
      break;
    }
    // Without its list the reason is a mark on what is in its place, and about to be another.
    await this.#drop(asideKey(release), aside);
  }

  async moveAside(release: string): Promise<void> {
    const place = await this.#records.get(listKey(release));
    if (!place) return;
    await this.#records.put(asideKey(release), place.bytes);
    await this.#dropCopies(release, place);
    await this.#drop(listKey(release), place);
  }

  async moveBack(release: string): Promise<void> {
    const aside = await this.#records.get(asideKey(release));
    if (!aside) return;
    const { files } = listOf(asideKey(release), aside.bytes, release);
    const place = await this.#records.get(listKey(release));
    if (place && !same(aside, place)) throw publishedMeanwhile(release);
    await writeCopies(this.#records, release, files);
    if (!(await this.#kept(listKey(release), aside))) throw publishedMeanwhile(release);
    await this.#drop(asideKey(release), aside);
  }

  async tidy(): Promise<void> {
    // A bucket has no folders that could be empty.
  }

  change(change: ReleaseChange): Promise<void> {
    return changeInBucket(this.#state, this.#records, change);
  }

  async finishChange(): Promise<void> {
    // One that was given up is told to who made it.
    await finishBucketChange(this.#state, this.#records);
  }

  #tree(release: string, key: string, place: string, options: ShelfTreeOptions = {}): Tree {
    return new ListedTree(this.#records, release, key, `${this.#state}/${place}`, options);
  }

  /** Writes what may be there already; false where something else is. */
  async #kept(key: string, { bytes }: StoredRecord): Promise<boolean> {
    if (await this.#records.putIfAbsent(key, bytes)) return true;
    const there = await this.#records.get(key);
    return there !== undefined && Buffer.compare(there.bytes, bytes) === 0;
  }

  /** Takes away what was read, and nothing that was written there since. */
  async #drop(key: string, { version }: StoredRecord): Promise<void> {
    await this.#records.compareAndSwap(key, version, undefined);
  }

  async #dropCopies(release: string, { bytes }: StoredRecord): Promise<void> {
    try {
      await removeCopies(this.#records, release, listOf(listKey(release), bytes, release).files);
    } catch (error) {
      // A list that nobody can read leads to no copies, and goes to quarantine as it is.
      if (!(error instanceof Refusal)) throw error;
    }
  }
}

function asideKey(release: string): string {
  return `quarantine/${release}/list`;
}

function same(one: StoredRecord, other: StoredRecord | undefined): boolean {
  return other !== undefined && Buffer.compare(one.bytes, other.bytes) === 0;
}
