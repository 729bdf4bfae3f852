import { codeOf } from '../../errors/io.ts';
import { Refusal } from '../../errors/refusal.ts';
import { UsageError } from '../../errors/usage.ts';
import { entriesBeneath, readBeneathIfThere } from '../../files/beneath.ts';
import { isReservedPath } from '../../formats/records/manifest.ts';
import { isSafePath } from '../../formats/records/safe-path.ts';

const DEEPEST = 6;
const MOST = 20_000;
/** Bytes of a text that a layout looks into. */
const LONGEST = 64 * 1024;

/**
 * The regular files of a tree that could be payload, by their paths, sorted. Links are left out, as are seals and
 * records of ours.
 */
export class TreeNames {
  readonly tree: string;
  readonly paths: readonly string[];

  /** Why a folder was not read that is not ours to read (lost+found). Where nothing else is found, that is why. */
  readonly unread: unknown;

  private constructor(tree: string, paths: readonly string[], unread: unknown) {
    this.tree = tree;
    this.paths = paths;
    this.unread = unread;
  }

  /** @throws Refusal `too-large` for a tree of more than 20,000 entries; IoError for a folder that cannot be read. */
  static async of(tree: string): Promise<TreeNames> {
    const found: string[] = [];
    let count = 0;
    let unread: unknown;
    const entriesOf = async (folder: string) => {
      try {
        return await entriesBeneath(tree, folder);
      } catch (error) {
        if (folder === '' || codeOf(error) !== 'EACCES') throw error;
        unread ??= error;
        return [];
      }
    };
    const visit = async (folder: string, depth: number): Promise<void> => {
      for (const entry of await entriesOf(folder)) {
        count += 1;
        if (count > MOST) {
          throw new Refusal('too-large', `${tree} holds more than ${MOST} entries: name its files.`, {
            path: tree,
          });
        }
        const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
        if (!isSafePath(path)) continue;
        if (entry.isDirectory() && depth < DEEPEST) await visit(path, depth + 1);
        else if (entry.isFile() && !isReservedPath(path) && !path.endsWith('.verity')) found.push(path);
      }
    };
    await visit('', 1);
    return new TreeNames(tree, found.sort(), unread);
  }

  all(pattern: RegExp): readonly string[] {
    return this.paths.filter((path) => pattern.test(path));
  }

  /** The one path of this pattern; undefined where there is none. @throws UsageError where there are several. */
  one(pattern: RegExp, what: string): string | undefined {
    const [first, second] = this.all(pattern);
    if (first !== undefined && second !== undefined) {
      throw new UsageError(
        `${this.tree} holds two of what could be the ${what}, ${first} and ${second}; name its files with --kernel, --initrd and --rootfs.`,
      );
    }
    return first;
  }

  /** A text of the tree; undefined where there is none. @throws Refusal `too-large` over 64 KiB. */
  async text(path: string): Promise<string | undefined> {
    const bytes = await readBeneathIfThere(this.tree, path, LONGEST);
    return bytes && Buffer.from(bytes).toString('latin1');
  }
}

/** The folder of a path with its slash; empty at the top. */
export function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/') + 1);
}

/** Debian's names of architectures and others, as Linux names them; undefined for what is none. */
export function archOf(name: string): string | undefined {
  return { amd64: 'x86_64', x86_64: 'x86_64', x64: 'x86_64', arm64: 'aarch64', aarch64: 'aarch64' }[name];
}
