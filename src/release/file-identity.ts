import type { BigIntStats } from 'node:fs';
import { Refusal } from './refusal.ts';

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

/** Throws a `drifted` refusal unless both are the same file, unchanged. */
export function demandSameFile(path: string, before: FileIdentity, now: FileIdentity): void {
  const changed = (['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const).find(
    (key) => before[key] !== now[key],
  );
  if (changed) {
    throw new Refusal('drifted', `${path} changed while it was being used (${changed} differs).`, {
      path,
      changed,
    });
  }
}
