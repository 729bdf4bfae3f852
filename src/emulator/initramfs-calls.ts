import { type CpioHeader, type CpioKind, type DeviceNumber, pathBytes } from '../formats/archive/cpio.ts';
import { type Inode, newInode, type Place, type RootFileSystem } from './initramfs-tree.ts';

/**
 * The system calls that a kernel makes to unpack an initramfs (fs/init.c, fs/namei.c), on a tree in memory. Those that
 * can fail answer why, in words for a remark; undefined: done.
 */

/** Bytes of a symlink's target on tmpfs: a page, with a NUL. */
const TARGET_LIMIT = 4095;
/** As a user or a group: leaves it as it is. */
const NOBODY = 0xffff_ffff;

/** Removes what stands at `path` if it is of another kind, or in any case. What cannot be removed stays, silently. */
export function clear(tree: RootFileSystem, path: string, kind: CpioKind | undefined): void {
  const found = tree.find(path, false);
  if (found === undefined || found.kind === kind) return;
  const { parent, name, node, slash } = tree.locate(path, false) ?? {};
  if (parent === undefined || name === undefined) return;
  // rmdir, unlike unlink, takes a slash, and leaves what is not empty. Neither follows a symlink that has one.
  const goes = found.kind === 'directory' ? node === found && node.children.size === 0 : !slash;
  if (goes) parent.children.delete(name);
}

interface Free {
  readonly parent: Inode;
  readonly name: string;
}

/** Where a new name may be put. */
function free(place: Place | undefined, directory: boolean): Free | string {
  if (place === undefined) return 'no directory to put it in';
  const { parent, name, node, slash } = place;
  if (parent === undefined) return 'it names a directory itself';
  if (node?.kind === 'directory') return 'a directory that is not empty stands there';
  if (node !== undefined) return 'something else stands there';
  if (slash && !directory) return 'its name ends in a slash';
  return { parent, name };
}

function put(place: Free | string, inode: () => Inode): string | undefined {
  if (typeof place === 'string') return place;
  place.parent.children.set(place.name, inode());
  return undefined;
}

export function makeDirectory(tree: RootFileSystem, path: string): string | undefined {
  return put(free(tree.locate(path, false), true), () => newInode('directory'));
}

export function makeSymlink(tree: RootFileSystem, path: string, target: string): string | undefined {
  const size = pathBytes(target).length;
  if (size > TARGET_LIMIT) return `its target has ${size} bytes`;
  return put(free(tree.locate(path, false), false), () => {
    const inode = newInode('symlink', undefined, target);
    inode.size = size;
    return inode;
  });
}

export function makeDevice(
  tree: RootFileSystem,
  path: string,
  kind: CpioKind,
  rdev: DeviceNumber,
): string | undefined {
  const numbered = kind === 'char' || kind === 'block';
  return put(free(tree.locate(path, false), false), () =>
    newInode(kind, numbered ? device(rdev) : undefined),
  );
}

/** A device's number has twelve bits and twenty (MKDEV, new_encode_dev). */
function device({ major, minor }: DeviceNumber): DeviceNumber {
  return { major: (major | (minor >>> 20)) & 0xfff, minor: minor & 0xf_ffff };
}

/** Gives what `old` leads to a further name; `gone` where that is nothing that can have one. */
export function link(tree: RootFileSystem, old: string, path: string): string | undefined {
  const inode = tree.find(old, false);
  if (inode === undefined || inode.kind === 'directory') return 'gone';
  return put(free(tree.locate(path, false), false), () => inode);
}

/** Opens a file for writing, and makes it where there is none: also behind a symlink. */
export function openFile(
  tree: RootFileSystem,
  path: string,
): { readonly inode: Inode; readonly path: string } | string {
  const place = tree.locate(path, true);
  // An existing file is overwritten where it is: its other names show the new content too.
  if (place?.node?.kind === 'file' && !place.slash) return { inode: place.node, path: place.path };
  const at = free(place, false);
  if (typeof at === 'string') return at;
  const inode = newInode('file');
  at.parent.children.set(at.name, inode);
  return { inode, path: place?.path ?? path };
}

/** chown, and chmod with it; a symlink has only an owner. */
export function give(inode: Inode, header: CpioHeader, what: 'all' | 'owner'): void {
  const old = inode.attributes;
  const { uid, gid, mode } = header;
  inode.attributes = {
    ...old,
    uid: uid === NOBODY ? old.uid : uid,
    gid: gid === NOBODY ? old.gid : gid,
    ...(what === 'all' ? { mode } : {}),
  };
}
