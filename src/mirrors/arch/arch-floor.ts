import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.ts';
import { writeFileAtomically } from '../../files/atomic-file.ts';
import { readIfThere } from '../../files/read-if-there.ts';
import { isArchVersion } from './arch-version.ts';

/**
 * What was here before, beside the trees and outside of all that a mirror sends: no older version is taken, and no root
 * image of an older one under a newer name.
 */
export interface ArchFloor {
  /** Undefined: nothing yet. */
  readonly version: string | undefined;
  /** SHA-256 of the root image of each version that was here, the newest last. */
  readonly roots: readonly (readonly [version: string, sha256: string])[];
}

const NAME = 'floor.json';
const MOST = 120;

/** @throws Refusal `malformed` where it is something else: it was not made here. IoError. */
export async function readFloor(out: string): Promise<ArchFloor> {
  const path = join(out, NAME);
  const bytes = await readIfThere(path);
  if (!bytes) return { version: undefined, roots: [] };
  try {
    const { format, version, roots } = JSON.parse(bytes.toString()) as Record<string, unknown>;
    if (format !== 1 || typeof version !== 'string' || !isArchVersion(version))
      throw new SyntaxError('version');
    const pairs = Object.entries(roots as Record<string, string>);
    if (!pairs.every(([of, sha256]) => isArchVersion(of) && /^[0-9a-f]{64}$/.test(sha256)))
      throw new SyntaxError('roots');
    return { version, roots: pairs.sort() };
  } catch (error) {
    throw new Refusal(
      'malformed',
      `${path} does not say which version was here last.`,
      { path },
      { cause: error },
    );
  }
}

/** Never lower than it was. */
export async function raiseFloor(
  out: string,
  floor: ArchFloor,
  version: string,
  root: string,
): Promise<void> {
  const roots = [...floor.roots.filter(([of]) => of !== version), [version, root] as const]
    .sort()
    .slice(-MOST);
  const highest = floor.version !== undefined && floor.version > version ? floor.version : version;
  const text = JSON.stringify(
    { format: 1, version: highest, roots: Object.fromEntries(roots) },
    undefined,
    2,
  );
  await writeFileAtomically(join(out, NAME), Buffer.from(`${text}\n`));
}

/** @throws Refusal `rolled-back`. */
export function demandNotBelow({ version: floor }: ArchFloor, version: string, what: string): void {
  if (floor === undefined || version >= floor) return;
  throw new Refusal('rolled-back', `${what} names ${version}, and ${floor} was here already.`, {
    version,
    floor,
  });
}

/** @throws Refusal `rolled-back`. */
export function demandNewRoot({ roots }: ArchFloor, version: string, root: string): void {
  const [before] = roots.find(([of, sha256]) => of !== version && sha256 === root) ?? [];
  if (before === undefined) return;
  throw new Refusal('rolled-back', `What is called ${version} there holds the root image of ${before}.`, {
    version,
    before,
  });
}
