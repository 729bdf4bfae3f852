import type { FileIdentity } from './file-identity.ts';
import type { Content } from './measure.ts';

/**
 * Where the files of a release lie: a folder, memory, a mirror, a bucket. Always hostile input, and never a place for
 * state. Paths are relative and `/`-separated; a maker refuses (`unsafe-path`) what leads out of the tree or is no
 * regular file, and answers `absent` only for what is not there.
 */
export interface Tree {
  /** How sentences name it. */
  readonly name: string;
  /** Names in a folder of the tree, sorted; the top is `''`. None where there is no such folder. */
  list(folder: string): Promise<readonly string[]>;
  /**
   * A small file, whole.
   *
   * @param limit bytes.
   * @throws Refusal `absent`, `unsafe-path`, `too-large`, `drifted`; IoError.
   */
  read(path: string, limit: number): Promise<Uint8Array>;
  /**
   * A file of any size. Nothing of it is read yet: what is signed about its size is compared first.
   *
   * @throws Refusal `absent`, `unsafe-path`; IoError.
   */
  open(path: string): Promise<TreeFile>;
  /**
   * How many bytes a file has, where a tree can tell that without opening it: whoever asks may not be allowed to read it,
   * and wants nothing of it.
   *
   * @throws Refusal `absent`, `unsafe-path`; IoError.
   */
  size?(path: string): Promise<number>;
}

/** How many bytes a file of a tree has. Nothing of it is read. Throws as `Tree.open`. */
export async function sizeIn(tree: Tree, path: string): Promise<number> {
  if (tree.size) return tree.size(path);
  const file = await tree.open(path);
  await file.close();
  return file.size;
}

/** An open file of a tree: what is measured is what was opened. */
export interface TreeFile extends Content {
  /** Bytes, as the tree says; measuring refuses (`drifted`, `too-large`) a file that turns out to have others. */
  readonly size: number;
  /** Where the file is on this machine, for those that serve it later; undefined where it is on none. */
  readonly place: FilePlace | undefined;
  /** Lower-case hex: what the tree says the digest is, where it lists them. Nobody has verified it. */
  readonly listedSha256?: string | undefined;
  close(): Promise<void>;
}

/** A file of this machine, and what says later that it still is the same. */
export interface FilePlace {
  /** Absolute. */
  readonly path: string;
  readonly identity: FileIdentity;
}
