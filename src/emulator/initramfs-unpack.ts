import {
  type CpioHeader,
  type CpioKind,
  cpioPathTrick,
  decodeCpioTarget,
  pathBytes,
} from '../formats/archive/cpio.ts';
import type { EntrySink } from './initramfs-stream.ts';
import { type Inode, inodeAttributes, newInode, type RootFileSystem } from './initramfs-tree.ts';

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

  begin(header: CpioHeader, kind: CpioKind, name: string): boolean {
    this.#open = undefined;
    this.#wanted = false;
    this.#count++;
    const trick = cpioPathTrick(name);
    if (trick !== undefined) this.#tree.remark(`${printable(name)}: ${trick} name`);
    if (kind === 'symlink') return true;
    if (kind === 'directory') this.#directory(header, name);
    else if (kind === 'file') this.#file(header, name);
    else this.#special(header, kind, name);
    return this.#wanted;
  }

  end(header: CpioHeader, kind: CpioKind, name: string, data: Uint8Array | undefined): void {
    if (kind === 'symlink' && data !== undefined) this.#symlink(header, name, decodeCpioTarget(data));
    const inode = this.#open;
    if (inode === undefined) return;
    inode.size = header.size;
    inode.data = data;
    inode.origin = this.#count;
  }

  #drop(name: string, why: string): void {
    this.#tree.remark(`${printable(name)}: dropped, ${why}`);
  }

  /**
   * Where an entry goes, after what stood there has been cleared away if its type differs (or in any case,
   * with `kind` undefined). Undefined: the entry is dropped.
   */
  #clear(
    name: string,
    kind: CpioKind | undefined,
  ): { parent: Inode; name: string; node?: Inode } | undefined {
    const place = this.#tree.locate(name, false);
    if (place?.parent === undefined) {
      this.#drop(name, place === undefined ? 'no directory to put it in' : 'it names a directory itself');
      return undefined;
    }
    const { parent, node } = place;
    // rmdir, unlike unlink, leaves what is not empty; what is to be made then fails.
    if (node !== undefined && node.kind !== kind) {
      if (node.children.size > 0) {
        this.#drop(name, 'a directory that is not empty stands there');
        return undefined;
      }
      parent.children.delete(place.name);
      return { parent, name: place.name };
    }
    return node === undefined ? { parent, name: place.name } : { parent, name: place.name, node };
  }

  #directory(header: CpioHeader, name: string): void {
    const existing = this.#tree.locate(name, false);
    if (existing?.node?.kind === 'directory') {
      existing.node.attributes = inodeAttributes(header);
      return;
    }
    const place = this.#clear(name, 'directory');
    place?.parent.children.set(place.name, newInode('directory', inodeAttributes(header)));
  }

  #symlink(header: CpioHeader, name: string, target: string): void {
    const place = this.#clear(name, undefined);
    if (place === undefined) return;
    if (target === '') {
      this.#drop(name, 'a symlink to nothing');
      return;
    }
    const inode = newInode('symlink', inodeAttributes(header), target);
    inode.size = pathBytes(target).length;
    place.parent.children.set(place.name, inode);
  }

  /** The file that `name` is a further name of, when an earlier entry was its first. */
  #linked(header: CpioHeader, kind: CpioKind, name: string): Inode | 'first' | 'dropped' {
    if (header.nlink < 2) return 'first';
    const key = [header.dev.major, header.dev.minor, header.ino, kind].join(':');
    const old = this.#links.get(key);
    if (old === undefined) {
      this.#links.set(key, name);
      return 'first';
    }
    const inode = this.#tree.locate(old, false)?.node;
    // The same name twice: the kernel unlinks it first and then finds nothing to link to.
    const place = this.#clear(name, undefined);
    if (place === undefined) return 'dropped';
    if (inode === undefined || this.#tree.locate(old, false)?.node === undefined) {
      this.#drop(name, `${printable(old)}, which it links to, is gone`);
      return 'dropped';
    }
    place.parent.children.set(place.name, inode);
    return inode;
  }

  #file(header: CpioHeader, name: string): void {
    const place = this.#clear(name, 'file');
    if (place === undefined) return;
    const linked = this.#linked(header, 'file', name);
    if (linked === 'dropped') return;
    let inode: Inode;
    if (linked === 'first') {
      // An existing file is overwritten where it is: its other names show the new content too.
      inode = place.node ?? newInode('file', inodeAttributes(header));
      place.parent.children.set(place.name, inode);
    } else {
      inode = linked;
    }
    inode.attributes = inodeAttributes(header);
    const path = this.#tree.locate(name, false)?.path ?? name;
    if (header.nlink > 1) this.#names.push({ path, inode });
    // A further name without data leaves the content alone.
    if (linked !== 'first' && header.size === 0) return;
    this.#open = inode;
    this.#wanted = this.#keep(path, header.size) || this.#origins.has(this.#count);
  }

  #special(header: CpioHeader, kind: CpioKind, name: string): void {
    const place = this.#clear(name, kind);
    if (place === undefined || this.#linked(header, kind, name) !== 'first') return;
    const { node } = place;
    // mknod does not replace: an existing device keeps its number.
    const attributes = inodeAttributes(header);
    if (node !== undefined) node.attributes = { ...attributes, rdev: node.attributes.rdev };
    else place.parent.children.set(place.name, newInode(kind, attributes));
  }
}

/** A name for a message: no control characters, not endless. */
function printable(name: string): string {
  return JSON.stringify(name.length > 200 ? `${name.slice(0, 200)}…` : name);
}
