import { Refusal } from '../errors/refusal.ts';
import { type CpioAttributes, type CpioKind, type DeviceNumber, pathBytes } from '../formats/archive/cpio.ts';
import type { Compression } from '../formats/archive/decompress.ts';

/**
 * The file system that a kernel has made of its initrds, in memory. Nothing here touches a disk: `..`,
 * absolute names and symlinks lead where they lead inside this tree, as they do under the kernel's `/`.
 */

/** Symlinks followed for one path, and bytes of one path component: MAXSYMLINKS and NAME_MAX. */
const HOP_LIMIT = 40;
const COMPONENT_LIMIT = 255;
const REMARK_LIMIT = 1000;
/**
 * Bytes of names and symlink targets that may be read to resolve all the paths of an initramfs: some hundred
 * for each of as many entries as are allowed. Through symlinks a name of some bytes can be worth 160 000.
 */
const RESOLVE_LIMIT = 2 ** 25;

/** Without times: the kernel sets those of folders in an order of its own, and nobody asks. */
type Attributes = Pick<CpioAttributes, 'mode' | 'uid' | 'gid' | 'rdev'>;

/** A file under all its names. */
export interface Inode {
  readonly kind: CpioKind;
  attributes: Attributes;
  size: number;
  /** Undefined for a file whose content was not kept. */
  data: Uint8Array | undefined;
  readonly target: string;
  readonly children: Map<string, Inode>;
  /** Which entry of all the archives brought the content, counted from 1; 0: none. */
  origin: number;
}

export interface InitramfsStat extends Attributes {
  readonly kind: CpioKind;
  readonly size: number;
  /** Whether `read` can answer. */
  readonly kept: boolean;
}

export interface InitramfsArchive {
  /** Which initrd, as named by the caller or counted from 1. */
  readonly initrd: string;
  /** Bytes from the beginning of that initrd. */
  readonly offset: number;
  readonly compression: 'none' | Compression;
}

/** What a reader of the unpacked initramfs sees. Paths with or without a leading slash. */
export interface InitramfsTree {
  /**
   * The content behind `path`, symlinks followed. Refuses: `absent`; `too-large` for a file whose content
   * was not kept; `malformed` for what is no file.
   */
  read(path: string): Uint8Array;
  exists(path: string): boolean;
  /** Names in a directory, sorted. Refuses `absent`, also for what is no directory. */
  list(path: string): string[];
  /** Facts of what `path` leads to, or undefined. */
  stat(path: string): InitramfsStat | undefined;
  /** Where the symlink `path` points, or undefined when it is none. */
  readlink(path: string): string | undefined;
  readonly archives: readonly InitramfsArchive[];
  /** What a kernel does without a word and a person should know: entries dropped, names with tricks. */
  readonly remarks: readonly string[];
}

/** Where a path leads. */
export interface Place {
  /** Where the last component stands. Undefined for `/`, `.` and `..`, which name a directory itself. */
  readonly parent: Inode | undefined;
  readonly name: string;
  readonly node: Inode | undefined;
  /** A slash stands behind the last component: it asks for a directory. */
  readonly slash: boolean;
  /** Without symlinks and dots. */
  readonly path: string;
}

export function newInode(kind: CpioKind, rdev: DeviceNumber = NO_DEVICE, target = ''): Inode {
  const attributes = { mode: 0, uid: 0, gid: 0, rdev };
  return { kind, attributes, size: 0, data: new Uint8Array(0), target, children: new Map(), origin: 0 };
}

const NO_DEVICE: DeviceNumber = { major: 0, minor: 0 };

function folder(mode: number, children: readonly (readonly [string, Inode])[] = []): Inode {
  const inode = newInode('directory');
  inode.attributes = { ...inode.attributes, mode };
  for (const [name, child] of children) inode.children.set(name, child);
  return inode;
}

/**
 * What a kernel has before it unpacks anything: a tmpfs (without `root=`; else a ramfs, whose root is 0755), and what
 * is built into it, unless it was built with more (usr/default_cpio_list).
 */
function builtIn(): Inode {
  const console = newInode('char', { major: 5, minor: 1 });
  console.attributes = { ...console.attributes, mode: 0o600 };
  return folder(0o1777, [
    ['dev', folder(0o755, [['console', console]])],
    ['root', folder(0o700)],
  ]);
}

export class RootFileSystem implements InitramfsTree {
  readonly archives: InitramfsArchive[] = [];
  readonly remarks: string[] = [];
  readonly #root = builtIn();
  #resolvable = RESOLVE_LIMIT;

  /** Ends the unpacking: what its readers ask for does not depend on what it holds. */
  finish(): void {
    this.#resolvable = Number.POSITIVE_INFINITY;
  }

  remark(text: string): void {
    if (this.remarks.length < REMARK_LIMIT) this.remarks.push(text);
    else if (this.remarks.length === REMARK_LIMIT) this.remarks.push('further remarks are left out');
  }

  /**
   * Follows a path. The last component's own symlink is followed only if `follow`. Undefined where the
   * kernel would say ENOENT before the last component, ENOTDIR, ENAMETOOLONG or ELOOP. Refuses `too-large`
   * where unpacking has resolved more than any honest initramfs needs.
   */
  locate(path: string, follow: boolean): Place | undefined {
    const pending = this.#split(path);
    let slash = path.endsWith('/');
    let trail: { node: Inode; name: string }[] = [];
    let hops = 0;
    const pathTo = (...more: string[]): string => [...trail.map(({ name }) => name), ...more].join('/');
    for (let part = pending.pop(); part !== undefined; part = pending.pop()) {
      const name: string = part;
      if (name === '.') continue;
      if (name === '..') {
        trail.pop();
        continue;
      }
      if (pathBytes(name).length > COMPONENT_LIMIT) return undefined;
      const parent = trail[trail.length - 1]?.node ?? this.#root;
      const node = parent.children.get(name);
      const isLast = pending.length === 0;
      if (node?.kind === 'symlink' && (follow || !isLast)) {
        if (++hops > HOP_LIMIT) return undefined;
        if (node.target.startsWith('/')) trail = [];
        slash ||= isLast && node.target.endsWith('/');
        // One without a target leads to where it stands.
        pending.push(...this.#split(node.target));
        continue;
      }
      if (isLast) return { parent, name, node, slash, path: pathTo(name) };
      if (node?.kind !== 'directory') return undefined;
      trail.push({ node, name });
    }
    const node = trail[trail.length - 1]?.node ?? this.#root;
    return { parent: undefined, name: '', node, slash, path: pathTo() };
  }

  /** What a path leads to, and nothing where a slash at its end asks for a directory that it is not. */
  find(path: string, follow: boolean): Inode | undefined {
    const place = this.locate(path, follow || path.endsWith('/'));
    return place?.slash && place.node?.kind !== 'directory' ? undefined : place?.node;
  }

  /** Components, the last one first. Several slashes are as good as one, however many there are. */
  #split(path: string): string[] {
    this.#resolvable -= path.length;
    if (this.#resolvable < 0) {
      const message = `The paths in the initramfs take more than ${RESOLVE_LIMIT} bytes to resolve.`;
      throw new Refusal('too-large', message, { limit: RESOLVE_LIMIT });
    }
    const parts = path.split('/').filter((part) => part !== '');
    return parts.reverse();
  }

  /** The file behind `path`, symlinks followed. */
  file(path: string): Inode | undefined {
    const node = this.#find(path);
    return node?.kind === 'file' ? node : undefined;
  }

  #find(path: string): Inode | undefined {
    return this.find(path, true);
  }

  read(path: string): Uint8Array {
    const node = this.#find(path);
    if (node === undefined) throw new Refusal('absent', `The initramfs holds no ${path}.`, { path });
    if (node.kind !== 'file') {
      throw new Refusal('malformed', `${path} in the initramfs is a ${node.kind}, not a file.`, { path });
    }
    if (node.data === undefined) {
      const message = `${path} in the initramfs has ${node.size} bytes and was not kept.`;
      throw new Refusal('too-large', message, { path, size: node.size });
    }
    return node.data;
  }

  exists(path: string): boolean {
    return this.#find(path) !== undefined;
  }

  list(path: string): string[] {
    const node = this.#find(path);
    if (node?.kind !== 'directory') {
      throw new Refusal('absent', `The initramfs holds no directory ${path}.`, { path });
    }
    return [...node.children.keys()].sort();
  }

  stat(path: string): InitramfsStat | undefined {
    const node = this.#find(path);
    if (node === undefined) return undefined;
    const kept = node.kind === 'file' && node.data !== undefined;
    return { ...node.attributes, kind: node.kind, size: node.size, kept };
  }

  readlink(path: string): string | undefined {
    const node = this.find(path, false);
    return node?.kind === 'symlink' ? node.target : undefined;
  }
}
