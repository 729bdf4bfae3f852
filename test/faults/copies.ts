import {
  chmodSync,
  copyFileSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  symlinkSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';

let count = 0;

/** Copies of a folder, each with a name of its own; links stay links, hard ones inside too, and times stay. */
export function copier(folder: string, original: string): () => Promise<string> {
  return async () => {
    const to = join(folder, `copy-${count++}`);
    copy(original, to, new Map());
    return to;
  };
}

function copy(from: string, to: string, linked: Map<number, string>): void {
  const stat = lstatSync(from);
  const { ino, nlink, mode, atime, mtime } = stat;
  const first = linked.get(ino);
  if (stat.isSymbolicLink()) {
    symlinkSync(readlinkSync(from), to);
    return;
  }
  if (stat.isDirectory()) {
    mkdirSync(to);
    for (const name of readdirSync(from)) copy(join(from, name), join(to, name), linked);
  } else if (first !== undefined) {
    linkSync(first, to);
    return;
  } else {
    copyFileSync(from, to);
    if (nlink > 1) linked.set(ino, to);
  }
  chmodSync(to, mode & 0o7777);
  utimesSync(to, atime, mtime);
}
