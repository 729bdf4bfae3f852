import { type CpioHeader, type CpioKind, cpioPathTrick, decodeCpioTarget } from '../formats/archive/cpio.ts';
import { clear, give, link, makeDevice, makeDirectory, makeSymlink, openFile } from './initramfs-calls.ts';
import type { EntrySink } from './initramfs-stream.ts';
import type { Inode, RootFileSystem } from './initramfs-tree.ts';

/** Whether a file's content is wanted: `path` without leading slash, `size` in bytes. */
export type Keep = (path: string, size: number) => boolean;

/**
 * Puts entries into the tree as the kernel's init/initramfs.c does, with its silences: where the kernel
 * drops an entry without a word, a remark says so.
 */
export class Unpacker implements EntrySink {
  readonly #tree: RootFileSystem;
  readonly #keep: Keep;
  /** Entries whose content is kept whatever they are called. */
  readonly #origins: ReadonlySet<number>;
  /** Every name of a file that has several: any of them may be the one that is wanted. */
  readonly #names: { readonly path: string; readonly inode: Inode }[] = [];
  #count = 0;
  /** First names of files with several, by device, number and type; each trailer clears it. */
  readonly #links = new Map<string, string>();
  #open: Inode | undefined;
  #wanted = false;

  constructor(tree: RootFileSystem, keep: Keep, origins: ReadonlySet<number> = new Set()) {
    this.#tree = tree;
    this.#keep = keep;
    this.#origins = origins;
  }

  /**
   * Which entries brought content that is wanted after all, by a further name of its file or by a path of `asked`
   * that leads to it through symlinks: what an archive holds is known at its end alone.
   */
  missed(asked: readonly string[]): ReadonlySet<number> {
    const behind = asked.flatMap((path) => {
      const inode = this.#tree.file(path);
      return inode ? [{ path, inode }] : [];
    });
    const wanted = [...this.#names, ...behind].filter(
      ({ path, inode }) => inode.data === undefined && this.#keep(path, inode.size),
    );
    return new Set(wanted.map(({ inode }) => inode.origin));
  }

  trailer(): void {
    this.#links.clear();
  }

  begin(header: CpioHeader, name: string): boolean {
    const { kind } = header;
    this.#open = undefined;
    this.#wanted = false;
    this.#count++;
    const trick = cpioPathTrick(name);
    if (trick !== undefined) this.#tree.remark(`${printable(name)}: ${trick} name`);
    if (kind === 'symlink') return true;
    clear(this.#tree, name, kind);
    // bsdtar makes such entries of the hard links in a tar, so mkinitcpio does: a kernel makes nothing of them.
    if (kind === undefined) this.#drop(name, 'it has no file type');
    else if (kind === 'directory') this.#directory(header, name);
    else if (kind === 'file') this.#file(header, name);
    else this.#special(header, kind, name);
    return this.#wanted;
  }

  end(header: CpioHeader, name: string, data: Uint8Array | undefined): void {
    if (header.kind === 'symlink' && data !== undefined) this.#symlink(header, name, decodeCpioTarget(data));
    const inode = this.#open;
    if (inode === undefined) return;
    inode.size = header.size;
    inode.data = data;
    inode.origin = this.#count;
  }

  #drop(name: string, why: string): void {
    this.#tree.remark(`${printable(name)}: dropped, ${why}`);
  }

  #directory(header: CpioHeader, name: string): void {
    const fault = makeDirectory(this.#tree, name);
    const node = this.#tree.find(name, true);
    // One that is there gets the new attributes.
    if (node) give(node, header, 'all');
    if (fault !== undefined && node?.kind !== 'directory') this.#drop(name, fault);
  }

  #symlink(header: CpioHeader, name: string, target: string): void {
    clear(this.#tree, name, undefined);
    const fault = makeSymlink(this.#tree, name, target);
    // Where another thing was in the way, that one has a new owner now.
    const node = this.#tree.find(name, false);
    if (node) give(node, header, 'owner');
    if (fault !== undefined) this.#drop(name, fault);
  }

  /** Whether this is the first name of its file, or a further one that was made or dropped. */
  #link(header: CpioHeader, kind: CpioKind, name: string): 'first' | 'linked' | 'dropped' {
    if (header.nlink < 2) return 'first';
    const key = [header.dev.major, header.dev.minor, header.ino, kind].join(':');
    const old = this.#links.get(key);
    if (old === undefined) {
      // Also where no file can be made under it: the others are lost then.
      this.#links.set(key, name);
      return 'first';
    }
    // The same name twice: it is unlinked, and then there is nothing to link to.
    clear(this.#tree, name, undefined);
    const fault = link(this.#tree, old, name);
    if (fault === undefined) return 'linked';
    this.#drop(name, fault === 'gone' ? `${printable(old)}, which it links to, is gone` : fault);
    return 'dropped';
  }

  #file(header: CpioHeader, name: string): void {
    const linked = this.#link(header, 'file', name);
    if (linked === 'dropped') return;
    const opened = openFile(this.#tree, name);
    if (typeof opened === 'string') {
      this.#drop(name, opened);
      return;
    }
    const { inode, path } = opened;
    give(inode, header, 'all');
    if (header.nlink > 1) this.#names.push({ path, inode });
    // A further name without data leaves the content alone.
    if (linked === 'linked' && header.size === 0) return;
    this.#open = inode;
    this.#wanted = this.#keep(path, header.size) || this.#origins.has(this.#count);
  }

  #special(header: CpioHeader, kind: CpioKind, name: string): void {
    if (this.#link(header, kind, name) !== 'first') return;
    const fault = makeDevice(this.#tree, name, kind, header.rdev);
    const node = this.#tree.find(name, true);
    if (node) give(node, header, 'all');
    // An existing device keeps its number, and what else is there gets the new attributes.
    if (fault !== undefined && node?.kind !== kind) this.#drop(name, fault);
  }
}

/** A name for a message: no control characters, not endless. */
function printable(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}
