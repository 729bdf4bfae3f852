import type { BigIntStats } from 'node:fs';
import { Refusal } from '../errors/refusal.ts';

/** What says that a file is still the one that was read: a path is not a fact. */
export interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
}

export function identityOf(stat: BigIntStats): FileIdentity {
  const { dev, ino, size, mtimeNs, ctimeNs } = stat;
  return { dev, ino, size, mtimeNs, ctimeNs };
}

const CHANGES: Readonly<Record<keyof FileIdentity, string>> = {
  dev: 'another file system is there now',
  ino: 'another file is there now',
  size: 'its size is another',
  mtimeNs: 'it was written to',
  ctimeNs: 'its mode, owner or links were changed, or its times put back',
};

export function isSameFile(before: FileIdentity, now: FileIdentity): boolean {
  return (
    before.ino === now.ino &&
    before.ctimeNs === now.ctimeNs &&
    before.mtimeNs === now.mtimeNs &&
    before.size === now.size &&
    before.dev === now.dev
  );
}

/** Throws a `drifted` refusal unless both are the same file, unchanged. Asked once for every reply: most are. */
export function demandSameFile(path: string, before: FileIdentity, now: FileIdentity): void {
  if (isSameFile(before, now)) return;
  const changed = (['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const).find(
    (key) => before[key] !== now[key],
  );
  if (changed) {
    throw new Refusal('drifted', `${path} changed while it was being used: ${CHANGES[changed]}.`, {
      path,
      changed,
    });
  }
}

/**
 * True where nothing but the inode's own time changed: a link to the file was made, renamed or taken away, or its
 * mode changed. A store links one object into many releases, so this happens to files that are being served. It
 * would also be so for content that was changed with its times put back, so what was read must be looked at anew.
 */
export function onlyRelinked(before: FileIdentity, now: FileIdentity): boolean {
  return (
    before.ctimeNs !== now.ctimeNs &&
    (['dev', 'ino', 'size', 'mtimeNs'] as const).every((key) => before[key] === now[key])
  );
}
