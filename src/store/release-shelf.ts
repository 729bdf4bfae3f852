import type { Tree } from '../files/tree.ts';
import type { VerifiedRelease } from '../trust/verified-release.ts';
import type { NextSnapshot } from './channels.ts';
import type { Provenance } from './provenance.ts';

/*
 * Where the releases of a state are, whatever is underneath. A folder holds each as a folder of links to objects; a bucket
 * holds a list of each, and copies for whoever reads it without us. Made by `shelfOf`.
 */

export interface ShelfTreeOptions {
  /** Told how far the reading of a large file is, in bytes. */
  readonly onProgress?: (path: string, bytes: number, size: number) => void;
}

/** A release that was signed anew. */
export interface ReleaseChange {
  readonly release: string;
  readonly to: string;
  /** SHA-256 of the manifest that it has until now. */
  readonly from: string;
  /** The records that change, by path: verified bytes. */
  readonly records: ReadonlyMap<string, Uint8Array>;
  /** The next snapshots of the channels that name it. */
  readonly channels: readonly NextSnapshot[];
  readonly provenance: Provenance;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** A release in its place, with files that lie on this machine. */
export interface LocalRelease {
  readonly tree: Tree;
  /** Nobody needs it any more. */
  end(): Promise<void>;
}

export interface ReleaseShelf {
  /** Whether a release is in its place. */
  has(release: string): Promise<boolean>;

  /** `NAME/VERSION` of every release in its place, sorted. */
  ids(): Promise<string[]>;

  /** A release in its place: as hostile as every tree, and empty where there is none. */
  tree(release: string, options?: ShelfTreeOptions): Tree;

  /**
   * The same with files that lie on this machine, for who hands them to clients: where they do not, they are fetched whole
   * into a folder of their own, below the system's for what is temporary.
   *
   * @throws Refusal as the tree does; IoError.
   */
  local(release: string): Promise<LocalRelease>;

  /** Whether a release was taken out of its place (quarantine.ts). */
  isAside(release: string): Promise<boolean>;

  /** Where a release lies on this machine, or would, in its place or aside; undefined where it lies on none. */
  folder(release: string, aside: boolean): string | undefined;

  /** A release that was taken out of its place. */
  treeAside(release: string): Tree;

  /**
   * Puts a verified release into its place, whole or not at all.
   *
   * @param now milliseconds since 1970.
   * @returns false where the very same release was there already.
   * @throws Refusal `drifted` where a file is no longer what was verified, or the store has lost a part of what it was
   *   given before; `mixed-releases` where another release of that name was published: a published release never changes.
   */
  store(verified: VerifiedRelease, now: number): Promise<boolean>;

  /** Another release of this name that was taken aside before goes one step further, with its reason. */
  makeRoom(release: string): Promise<void>;

  /** Takes a release out of its place; nothing happens where there is none. */
  moveAside(release: string): Promise<void>;

  /**
   * Puts a release that was taken aside back into its place; nothing happens where there is none.
   *
   * @throws Refusal `mixed-releases` where another release of that name was published meanwhile.
   */
  moveBack(release: string): Promise<void>;

  /** Takes away what is left in quarantine of a release that nothing is said of there any more. */
  tidy(release: string): Promise<void>;

  /** Makes a change, whole. The state is the caller's while it does (`openState`). Throws an `IoError`. */
  change(change: ReleaseChange): Promise<void>;

  /** Does what a crash left undone of a change; nothing where there is none. The state is the caller's. */
  finishChange(): Promise<void>;
}
